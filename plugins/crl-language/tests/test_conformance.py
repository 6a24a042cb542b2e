"""Every part keeps its contract."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from crl_language.sources.docstrings import Docstrings
from crl_language.sources.neighbouring import Neighbouring
from crl_language.tokens import Tokens

import crl_core as crl
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


def rows_of_tokens() -> crl.View:
    generator = torch.Generator().manual_seed(0)
    found = [torch.randint(5, 24, (length,), generator=generator).tolist() for length in (3, 7, 1, 5, 9, 2, 4, 6)]
    return crl.View(Tokens.of(found), {"instance": torch.arange(len(found))})


def sides() -> crl.View:
    tokens = rows_of_tokens()
    return crl.View({"left": tokens.data, "right": tokens.data}, tokens.meta)


def untrained_pairs() -> tuple[crl.Pipeline, crl.Source, str]:
    made = crl.recipe("static", source=Neighbouring(Docstrings()), size=16, prefixes=[8], pieces=200)
    batch = made.source.items("train").__getitems__([0, 1, 2])
    return made.pipeline.build(batch, made.source).eval(), made.source, "test"


OPTIONS: dict[str, Any] = {
    "language/lines": lines,
    "language/bag": {"count": 24, "size": 6, "special": 6},
    "language/neighbouring": lambda: {"source": Docstrings()},
}
EXAMPLES: dict[str, Callable[[], Any]] = {
    "language/words": texts,
    "language/pieces": texts,
    "language/bag": rows_of_tokens,
    "language/sides": sides,
    "language/twice": rows_of_tokens,
    "language/pair-retrieval": untrained_pairs,
}
EXPECTED: dict[Any, str] = {}

test_conformance = conformance("crl-language", options=OPTIONS, examples=EXAMPLES, expected_failures=EXPECTED)
