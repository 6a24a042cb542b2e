"""Every part keeps its contract."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crl_core.testing import conformance

TEXTS = [
    "the cat sat on the mat",
    "a dog ran in the park",
    "the sun is bright",
    "rain fell all night",
    "birds sing",
] * 8


def texts() -> list[str]:
    return list(TEXTS)


FOLDER = Path(tempfile.mkdtemp())


def lines() -> dict[str, Any]:
    (FOLDER / "texts.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    return {"path": str(FOLDER / "texts.txt")}


OPTIONS: dict[str, Any] = {"language/lines": lines}
EXAMPLES: dict[str, Callable[[], Any]] = {"language/words": texts, "language/pieces": texts}
EXPECTED: dict[Any, str] = {}

test_conformance = conformance("crl-language", options=OPTIONS, examples=EXAMPLES, expected_failures=EXPECTED)
