"""The module names of crl 0.1, for the plugins that import them. Today's plugins import only `crl_core`."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any


def moved(old: str, *homes: str) -> Callable[[str], Any]:
    """A `__getattr__` for an old module, which returns names from the modules where they are now, with a warning."""

    def find(name: str) -> Any:
        for home in homes:
            module = importlib.import_module(f"crl_core.{home}")
            if not name.startswith("__") and hasattr(module, name):
                warnings.warn(
                    f"{old}.{name} is private now: write `from crl_core import {name}`",
                    DeprecationWarning,
                    stacklevel=2,
                )
                return getattr(module, name)
        raise AttributeError(f"module {old!r} has no attribute {name!r}")

    return find
