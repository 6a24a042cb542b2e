"""Where crl 0.1 had its modules: plugins of then import them by these names, which this folder on the path keeps.

Today's plugins import `crl_core` alone.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any


def moved(old: str, *homes: str) -> Callable[[str], Any]:
    """A module's `__getattr__` that finds its names in the modules where they are now, with a warning."""

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
