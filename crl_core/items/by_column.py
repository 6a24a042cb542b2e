"""Batches with so many items of each of some groups."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ..contracts.parts import Items, Source
from ..data.view import View
from ..errors import CrlError
from .order import Order, ordered
from .splits import check_split


class ByColumn:
    """Another source, whose training batches hold the same number of items of each of some groups.

    A batch has `groups` random values of the column, and for each the number of items that fills the batch (P × K in
    Hermans et al. 2017). An epoch has as many batches as the source's own would. Items whose value is unknown are left
    out.

    >>> import torch
    >>> import crl_core as crl
    >>> class Points:
    ...     splits = ("train",)
    ...     items = lambda self, split: crl.InMemory(torch.randn(12, 4), {"label": torch.arange(12) % 3})
    >>> items = crl.ByColumn(Points(), "label", groups=3).items("train")
    >>> batch = items.batches(6, torch.Generator())[0]
    >>> items.__getitems__(batch).meta["label"].sort().values
    tensor([0, 0, 1, 1, 2, 2])

    Args:
        source: of items with the column.
        column: of whole numbers: the class, the speaker, the video.
        groups: in one batch, P. It divides the batch size; the quotient is K.

    Raises:
        ValueError: there are fewer than 1 groups.
        CrlError: the items don't have the column, or have fewer groups.
    """

    renamed: ClassVar[dict[str, str]] = {"classes": "groups"}
    formerly: ClassVar[tuple[str, ...]] = ("vision/by-class",)

    def __init__(self, source: Source, column: str = "label", groups: int = 8) -> None:
        if groups < 1:
            raise ValueError(f"a batch has at least 1 group, not {groups}")
        self.source, self.column, self.groups = source, column, groups
        self.splits = source.splits
        if hasattr(source, "evaluators"):
            self.evaluators = source.evaluators
        if hasattr(source, "counts"):
            self.counts = source.counts

    def items(self, split: str) -> Items:
        check_split(split, self.splits)
        found = self.source.items(split)
        return GroupBatches(found, self.column, self.groups) if split == self.splits[0] else found


class GroupBatches:
    """Items that order themselves: so many groups in a batch, of each the same number.

    Raises:
        CrlError: the items have no such column, or there are fewer groups.
    """

    def __init__(self, items: Items, column: str, groups: int) -> None:
        self.inner, self.column, self.groups = items, column, groups
        value = _column(items, column)
        self._of = [(value == one).nonzero().squeeze(1) for one in torch.unique(value[value >= 0])]
        if len(self._of) < groups:
            raise CrlError(
                f"a batch of {groups} groups by {column!r} can't be drawn from the {len(self._of)} that there are"
            )

    def __len__(self) -> int:
        return len(self.inner)

    def __getitems__(self, indices: list[int]) -> View:
        return self.inner.__getitems__(indices)

    def batches(self, batch_size: int, generator: torch.Generator) -> Order:
        """Of every group the items in a random order, over and over; and random groups for every batch.

        Raises:
            CrlError: the batch size is no multiple of the groups.
        """
        each, rest = divmod(batch_size, self.groups)
        if rest or not each:
            raise CrlError(f"a batch of {batch_size} can't be {self.groups} groups of the same number of items")
        count = max(1, sum(map(len, self._of)) // batch_size)
        decks = [members[:0] for members in self._of]
        found: list[Tensor] = []
        for _ in range(count):
            for place in torch.randperm(len(self._of), generator=generator)[: self.groups].tolist():
                members = self._of[place]
                while len(decks[place]) < each:
                    shuffled = members[torch.randperm(len(members), generator=generator)]
                    decks[place] = torch.cat([decks[place], shuffled])
                found.append(decks[place][:each])
                decks[place] = decks[place][each:]
        return ordered(torch.cat(found), batch_size)


def _column(items: Items, name: str) -> Tensor:
    """`[len(items)]`, -1 where an item can't be read."""
    known = getattr(items, "columns", {})
    if name in known:
        column: Tensor = known[name]
        return column
    found = torch.full((len(items),), -1)
    for start in range(0, len(items), 512):
        view = items.__getitems__(list(range(start, min(start + 512, len(items)))))
        if name not in view.meta:
            raise CrlError(f"batches by {name!r} need the column {name!r}, which this source doesn't have")
        found[view.meta["instance"]] = view.meta[name].long()
    return found
