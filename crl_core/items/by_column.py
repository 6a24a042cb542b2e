"""Batches of several groups, with the same number of items from each."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ..contracts.parts import Items, Source
from ..errors import CrlError
from .another import AnotherItems, AnotherSource
from .order import Order, ordered
from .splits import check_split


class ByColumn(AnotherSource):
    """The items of another source, in training batches of several groups with the same number of items from each.

    A group has the same value in a column. A batch has P random groups, and K items from each, P × K in all (Hermans et
    al. 2017). The number of batches in an epoch is that of the other source. Items with an unknown value are left out.

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
        source: the source of the items.
        column: a column of whole numbers: the class, the speaker, the video.
        groups: the number of groups in a batch, P. It divides the batch size; the quotient is K.

    Raises:
        ValueError: `groups` is less than 1.
        CrlError: the items don't have the column, or have fewer groups.
    """

    renamed: ClassVar[dict[str, str]] = {"classes": "groups"}
    formerly: ClassVar[tuple[str, ...]] = ("vision/by-class",)

    def __init__(self, source: Source, column: str = "label", groups: int = 8) -> None:
        if groups < 1:
            raise ValueError(f"a batch has at least 1 group, not {groups}")
        super().__init__(source)
        self.column, self.groups = column, groups

    def items(self, split: str) -> Items:
        check_split(split, self.splits)
        items = self.source.items(split)
        return GroupBatches(items, self.column, self.groups) if split == self.splits[0] else items


class GroupBatches(AnotherItems):
    """Items that order themselves: several groups in a batch, with the same number of items from each.

    Raises:
        CrlError: the items don't have the column, or have fewer groups.
    """

    def __init__(self, items: Items, column: str, groups: int) -> None:
        super().__init__(items)
        self.column, self.groups = column, groups
        value = _column(items, column)
        self._of = [(value == one).nonzero().squeeze(1) for one in torch.unique(value[value >= 0])]
        if len(self._of) < groups:
            raise CrlError(f"a batch has {groups} groups by {column!r}, but the items have only {len(self._of)}")

    def batches(self, batch_size: int, generator: torch.Generator) -> Order:
        """Random groups for each batch; the items of a group come in random order, again and again.

        Raises:
            CrlError: the batch size is not a multiple of the number of groups.
        """
        each, rest = divmod(batch_size, self.groups)
        if rest or not each:
            raise CrlError(f"a batch of {batch_size} can't have {self.groups} groups with the same number of items")
        count = max(1, sum(map(len, self._of)) // batch_size)
        decks = [members[:0] for members in self._of]
        orders: list[Tensor] = []
        for _ in range(count):
            for place in torch.randperm(len(self._of), generator=generator)[: self.groups].tolist():
                members = self._of[place]
                while len(decks[place]) < each:
                    shuffled = members[torch.randperm(len(members), generator=generator)]
                    decks[place] = torch.cat([decks[place], shuffled])
                orders.append(decks[place][:each])
                decks[place] = decks[place][each:]
        return ordered(torch.cat(orders), batch_size)


def _column(items: Items, name: str) -> Tensor:
    """The column of all items, `[len(items)]`; -1 for items that can't be read."""
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
