from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import torch

from crl_core import CrlError, Pipeline, Source

from ..sources.lines import lines_of
from ..vectors import Vectors

_AT_ONCE = 512


class Analogies:
    """Questions "a is to b as c is to …?", answered by the word nearest to b - a + c (Mikolov et al. 2013).

    The file has four words on each line, and lines that begin with `:` between its sections, as `questions-words.txt`
    has. The words of the question are no answers. Figures: `analogies`, the share of right answers among the questions
    whose words are all known, and `known questions`, the share of these.

    >>> from pathlib import Path
    >>> import crl_core as crl
    >>> from crl_language.evaluators.analogies import Analogies
    >>> made = crl.recipe("skip-gram", size=8)
    >>> _ = made.pipeline.build(made.source.items("train").__getitems__([0, 1]), made.source)
    >>> _ = Path("questions.txt").write_text(": verbs\\nread reading write writing\\nread reading zzz zzzing\\n")
    >>> Analogies("questions.txt")(made.pipeline, made.source, "test")["known questions"]
    0.5

    Args:
        path: of the file.
        most: only the most frequent words, so many, are known.

    Raises:
        CrlError: it can't be read, a line has not four words, or no question is known.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    takes: ClassVar[Literal["pipeline"]] = "pipeline"

    def __init__(self, path: str, most: int = 30_000) -> None:
        if most < 4:
            raise CrlError(f"a question has 4 words, so `most` is 4 or more, not {most}")
        self.path, self.most = path, most

    def __call__(self, pipeline: Pipeline, source: Source, split: str) -> dict[str, float]:
        asked = read_questions(Path(self.path))
        every = Vectors.of(pipeline)
        vectors = Vectors(every.words[: self.most], every.table[: self.most])
        known = [question for question in asked if all(word in vectors for word in question)]
        if not known:
            raise CrlError(f"{self.path}: of {len(asked)} questions, the run knows the words of none")
        questions = torch.tensor([[vectors.number(word) for word in question] for question in known])
        right = sum(int(_right(vectors.unit, some).sum()) for some in questions.split(_AT_ONCE))
        return {"analogies": right / len(known), "known questions": len(known) / len(asked)}


def _right(unit: torch.Tensor, questions: torch.Tensor) -> torch.Tensor:
    """Which of these questions `[n, 4]` are answered right."""
    a, b, c = (unit[questions[:, side]] for side in range(3))
    cosine = (b - a + c) @ unit.T
    cosine.scatter_(1, questions[:, :3], -torch.inf)
    return cosine.argmax(1) == questions[:, 3]


def read_questions(path: Path) -> list[list[str]]:
    """The questions, in small letters.

    Raises:
        CrlError: the file can't be read, or a line has not four words.
    """
    found = []
    for number, line in enumerate(lines_of(path), 1):
        if not line.strip() or line.startswith((":", "#")):
            continue
        words = line.lower().split()
        if len(words) != 4:
            raise CrlError(f"{path}, line {number}: a question has four words, not {len(words)}")
        found.append(words)
    return found
