from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F

from crl_core import CrlError, Pipeline, Source

from ..sources.lines import lines_of
from .sts import spearman

Pair = tuple[str, str, float]


class WordSimilarity:
    """How well the cosines of word vectors agree with people's judgement: Spearman's rank correlation.

    The file has two words and a number on each line, between tabs, commas or semicolons, as WordSim-353 and SimLex-999
    have; what else a line has is ignored, and so are a first line of titles and lines that begin with `#`. Figures:
    `word similarity`, over the pairs whose words are both known, from -1 to 1; and `known pairs`, the share of these.

    >>> from pathlib import Path
    >>> import crl_core as crl
    >>> from crl_language.evaluators.word_similarity import WordSimilarity
    >>> made = crl.recipe("skip-gram", size=8)
    >>> _ = made.pipeline.build(made.source.items("train").__getitems__([0, 1]), made.source)
    >>> _ = Path("pairs.tsv").write_text("list\\ttuple\\t9\\nlist\\tfile\\t2\\nread\\twrite\\t7\\nread\\tzzz\\t0\\n")
    >>> WordSimilarity("pairs.tsv")(made.pipeline, made.source, "test")["known pairs"]
    0.75

    Args:
        path: of the file.

    Raises:
        CrlError: it can't be read, or fewer than three of its pairs are known.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    takes: ClassVar[Literal["pipeline"]] = "pipeline"

    def __init__(self, path: str) -> None:
        self.path = path

    def __call__(self, pipeline: Pipeline, source: Source, split: str) -> dict[str, float]:
        pairs = read_pairs(Path(self.path))
        known = [pair for pair in pairs if all(knows(pipeline, word) for word in pair[:2])]
        if len(known) < 3:
            raise CrlError(
                f"{self.path}: {len(known)} of {len(pairs)} pairs have words that the run knows; 3 are needed"
            )
        left, right = (F.normalize(pipeline.encode([pair[side] for pair in known]), dim=1) for side in (0, 1))
        found = spearman((left * right).sum(1).cpu(), torch.tensor([score for _, _, score in known]))
        return {"word similarity": found, "known pairs": len(known) / len(pairs)}


def knows(pipeline: Pipeline, word: str) -> bool:
    """Whether the reader has a word; one of pieces has every word."""
    number = getattr(pipeline.reader, "number", None)
    return number is None or number(word) is not None


def read_pairs(path: Path) -> list[Pair]:
    """The pairs of words with their scores.

    Raises:
        CrlError: the file can't be read, or a line is no pair.
    """
    found: list[Pair] = []
    for number, line in enumerate(lines_of(path), 1):
        if not line.strip() or line.startswith("#"):
            continue
        cells = [cell.strip() for cell in re.split(r"[\t,;]", line)]
        score = next((value for cell in cells[2:] if (value := _number(cell)) is not None), None)
        if score is not None:
            found.append((cells[0], cells[1], score))
        elif found or number > 3:
            raise CrlError(f"{path}, line {number}: expected two words and a number, not {line.rstrip()!r:.80}")
    return found


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None
