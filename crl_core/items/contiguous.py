"""Batches of items that follow each other."""

from __future__ import annotations

import torch

from ..contracts.parts import Items
from ..errors import CrlError
from .another import AnotherItems, AnotherSource
from .order import Order, ordered
from .splits import check_split


class Contiguous(AnotherSource):
    """Another source, whose training batches hold items that follow each other: sentences of a book, frames of a film.

    The items are cut into stretches of one batch each; the first begins at a random item, and the stretches come in a
    random order. A relation such as `within("instance", 1)` then finds the neighbours of an item in its batch.

    >>> import torch
    >>> import crl_core as crl
    >>> class Points:
    ...     splits = ("train",)
    ...     items = lambda self, split: crl.InMemory(torch.randn(7, 4))
    >>> sorted(crl.Contiguous(Points()).items("train").batches(3, torch.Generator().manual_seed(0)))
    [[0, 1, 2], [3, 4, 5]]

    Args:
        source: of items in an order that means something.
    """

    def items(self, split: str) -> Items:
        check_split(split, self.splits)
        found = self.source.items(split)
        return InStretches(found) if split == self.splits[0] else found


class InStretches(AnotherItems):
    """Items that order themselves: a batch is a stretch of them."""

    def batches(self, batch_size: int, generator: torch.Generator) -> Order:
        """Every item at most once, and as many batches as the items fill.

        Raises:
            CrlError: they don't fill one.
        """
        count, rest = divmod(len(self), batch_size)
        if not count:
            raise CrlError(f"{len(self)} items don't fill a batch of {batch_size}")
        first = int(torch.randint(0, rest + 1, (), generator=generator))
        stretches = torch.arange(first, first + count * batch_size).view(count, batch_size)
        return ordered(stretches[torch.randperm(count, generator=generator)].flatten(), batch_size)
