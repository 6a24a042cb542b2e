"""crl: contrastive representation learning, put together from parts.

    import crl_core as crl

Names are imported when they are first used, so that `import crl_core` alone is quick and needs no torch.
`__init__.pyi` lists them.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

_LINE = re.compile(r"^from \.([\w.]+) import (\w+) as (\w+)$", re.MULTILINE)
_LISTED = Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")
_HOME_OF = {public: (module, name) for module, name, public in _LINE.findall(_LISTED)}
__all__ = sorted(_HOME_OF)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'crl_core' has no attribute {name!r}")
    module, written = _HOME_OF[name]
    found = getattr(importlib.import_module(f".{module}", __name__), written)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
