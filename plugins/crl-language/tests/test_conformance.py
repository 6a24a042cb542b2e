"""Every part keeps its contract."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

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


def pairs_of_words() -> dict[str, Any]:
    pairs = [("list", "tuple", 9), ("list", "file", 3), ("read", "write", 8), ("read", "class", 1)]
    (FOLDER / "word-pairs.tsv").write_text("".join(f"{a}\t{b}\t{score}\n" for a, b, score in pairs), encoding="utf-8")
    return {"path": str(FOLDER / "word-pairs.tsv")}


def questions() -> dict[str, Any]:
    (FOLDER / "questions.txt").write_text(": verbs\nread reading write writing\n", encoding="utf-8")
    return {"path": str(FOLDER / "questions.txt")}


class ReadTexts:
    """A source of texts as a reader has read them."""

    splits = ("train",)
    counts: ClassVar[dict[str, int]] = {"words": 24}

    def items(self, split: str) -> crl.InMemory:
        return crl.InMemory(rows_of_tokens().data)


def words_of_a_window() -> crl.View:
    return crl.View(torch.arange(8).view(8, 1) + torch.tensor([0, 3, 5, 9]), {"instance": torch.arange(8)})


def window_features() -> dict[str, torch.Tensor]:
    return {"vectors": torch.randn(8, 4, 6), "there": torch.arange(32).view(8, 4) % 3 > 0}


def untrained_words() -> tuple[crl.Pipeline, crl.Source, str]:
    made = crl.recipe("skip-gram", size=8)
    batch = made.source.items("train").__getitems__([0, 1, 2])
    return made.pipeline.build(batch, made.source).eval(), made.source, "test"


def pairs_file() -> dict[str, Any]:
    path = FOLDER / "pairs.tsv"
    path.write_text("".join(f"{text}\t{text[::-1]}\n" for text in TEXTS), encoding="utf-8")
    return {"left": str(path)}


def scored() -> str:
    path = FOLDER / "scored.csv"
    rows = [f'"{one}","{other}",{len(one) % 6}\n' for one, other in pairwise(TEXTS)]
    path.write_text("one,other,score\n" + "".join(rows), encoding="utf-8")
    return str(path)


def untrained_pairs() -> tuple[crl.Pipeline, crl.Source, str]:
    made = crl.recipe("static", source=Neighbouring(Docstrings()), size=16, prefixes=[8], pieces=200)
    batch = made.source.items("train").__getitems__([0, 1, 2])
    return made.pipeline.build(batch, made.source).eval(), made.source, "test"


OPTIONS: dict[str, Any] = {
    "language/lines": lines,
    "language/analogies": questions,
    "language/by-place": {"places": 4},
    "language/window-score": {"words": 4, "kernel": 2, "hidden": 8},
    "language/word-similarity": pairs_of_words,
    "language/word-vectors": {"count": 24, "size": 6, "sparse": False},
    "language/bag": {"count": 24, "size": 6, "special": 6},
    "language/gru": {"count": 24, "size": 6, "width": 5},
    "language/parallel": pairs_file,
    "language/sts": lambda: {"path": scored(), "header": True},
    "language/transformer": {"count": 24, "size": 8, "depth": 2, "heads": 2, "longest": 12, "pool": "mean"},
    "language/neighbouring": lambda: {"source": Docstrings()},
}
EXAMPLES: dict[str, Callable[[], Any]] = {
    "language/analogies": untrained_words,
    "language/around": window_features,
    "language/by-place": window_features,
    "language/centre": window_features,
    "language/window-mean": window_features,
    "language/windows": ReadTexts,
    "language/word-similarity": untrained_words,
    "language/word-vectors": words_of_a_window,
    "language/words": texts,
    "language/pieces": texts,
    "language/bag": rows_of_tokens,
    "language/sides": sides,
    "language/twice": rows_of_tokens,
    "language/gru": rows_of_tokens,
    "language/joined": lambda: {"a": torch.randn(8, 3), "b": torch.randn(8, 5)},
    "language/pair-retrieval": untrained_pairs,
    "language/sts": untrained_pairs,
    "language/transformer": rows_of_tokens,
}
EXPECTED: dict[Any, str] = {
    (f"language/{name}", "compiles_without_breaks"): "how far texts are padded is known from their lengths alone"
    for name in ("gru", "transformer")
}

test_conformance = conformance("crl-language", options=OPTIONS, examples=EXAMPLES, expected_failures=EXPECTED)
