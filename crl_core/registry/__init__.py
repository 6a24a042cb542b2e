"""Finds the parts of all installed plugins (`find`, `check`, `load`), makes them (`get`, `make`); hooks; kernels."""

from .making import address_of, get, make
from .plugins import KINDS, Known, Loaded, PluginError, check, find, known, load, refresh, register

__all__ = [
    "KINDS", "Known", "Loaded", "PluginError", "address_of", "check", "find", "get", "known", "load", "make",
    "refresh", "register",
]  # fmt: skip
