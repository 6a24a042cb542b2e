"""Specs: a pipeline as data, and a pipeline from data."""

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    # Until 0.2 this was a module, whose names are now in `spec.spec`.
    if name.startswith("__"):
        raise AttributeError(name)
    return getattr(importlib.import_module(f"{__name__}.spec"), name)
