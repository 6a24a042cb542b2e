"""How parts come in: `find`, `check`, `load`; and hooks, and kernels."""

from .plugins import (
    KINDS,
    Known,
    Loaded,
    PluginError,
    address_of,
    check,
    find,
    get,
    known,
    load,
    make,
    refresh,
    register,
)

__all__ = [
    "KINDS", "Known", "Loaded", "PluginError", "address_of", "check", "find", "get", "known", "load", "make",
    "refresh", "register",
]  # fmt: skip
