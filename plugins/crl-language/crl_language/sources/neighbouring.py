from __future__ import annotations

import torch
from torch import Tensor

from crl_core import CrlError, InMemory, Items, Source, check_split


class Neighbouring:
    """Pairs of texts that follow each other in another source: a sentence and the next of the same document.

    The data are `{"left": […], "right": […]}`, and the columns those of the left text. Every text of the source is on
    the left at most once.

    >>> import crl_core as crl
    >>> from crl_language.sources.docstrings import Docstrings
    >>> from crl_language.sources.neighbouring import Neighbouring
    >>> pair = Neighbouring(Docstrings()).items("train").__getitems__([0])
    >>> list(pair.data), pair.meta["document"].shape
    (['left', 'right'], torch.Size([1]))

    Args:
        source: of texts, whose items are in order.
        column: of whole numbers; the texts of a pair have the same: "document", or "section" of `Lines`.

    Raises:
        CrlError: the items have no such column, or no two texts with the same value follow each other.
    """

    evaluators = ("language/pair-retrieval", "core/knn", "core/alignment-uniformity", "core/effective-rank")

    def __init__(self, source: Source, column: str = "document") -> None:
        self.source, self.column = source, column
        self.splits = source.splits

    def items(self, split: str) -> InMemory:
        check_split(split, self.splits)
        texts, columns = _all(self.source.items(split))
        if self.column not in columns:
            raise CrlError(f"neighbours by {self.column!r} need that column, and there are {', '.join(columns)}")
        value = columns[self.column]
        left = ((value[1:] == value[:-1]) & (value[1:] >= 0)).nonzero().squeeze(1)
        if not len(left):
            raise CrlError(f"no two texts with the same {self.column!r} follow each other")
        sides = {"left": [texts[i] for i in left.tolist()], "right": [texts[i + 1] for i in left.tolist()]}
        return InMemory(sides, {name: column[left] for name, column in columns.items() if name != "instance"})


def _all(items: Items) -> tuple[list[str], dict[str, Tensor]]:
    view = items.__getitems__(torch.arange(len(items)).tolist())
    if not isinstance(view.data, list):
        raise CrlError(f"neighbours are made of texts, not of a {type(view.data).__name__}")
    return view.data, dict(view.meta)
