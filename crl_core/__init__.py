"""crl: contrastive and self-supervised learning, with methods made of parts.

    import crl_core as crl

Each name is imported when it is first used, so that `import crl_core` is fast and needs no torch.
`__init__.pyi` lists the names.
"""

from __future__ import annotations

import importlib
import os
import re
from typing import Any

__path__ = [*__path__, os.path.join(__path__[0], "formerly")]  # the modules of crl 0.1, for its plugins

_LINE = re.compile(r"^from \.([\w.]+) import (\w+) as \w+$", re.MULTILINE)
_HOME_OF: dict[str, str] = {}


def _homes() -> dict[str, str]:
    if not _HOME_OF:
        with open(os.path.splitext(__file__)[0] + ".pyi", encoding="utf-8") as listed:
            _HOME_OF.update((name, module) for module, name in _LINE.findall(listed.read()))
    return _HOME_OF


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return sorted(_homes())
    if name.startswith("__") or name not in _homes():
        raise AttributeError(f"module 'crl_core' has no attribute {name!r}")
    found = getattr(importlib.import_module(f".{_homes()[name]}", __name__), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_homes()})
