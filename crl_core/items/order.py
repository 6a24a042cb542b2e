"""The batches of an epoch as one tensor, which is cut into lists one batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from torch import Tensor

from ..errors import CrlError


class Order(Sequence[list[int]]):
    """A sequence of batches, each a list of indices of items. 10⁸ items take 0.8 GB, and no list.

    Args:
        index: the indices of all items `[K]`, batch after batch.
        starts: where each part begins in `index`, and where the last one ends: a range, or whole numbers `[P + 1]`.
        parts: the number of parts in a batch, one for each process.
    """

    def __init__(self, index: Tensor, starts: range | Tensor, parts: int = 1) -> None:
        self._index, self._starts, self._parts = index, starts, parts
        self._rank, self._world = 0, 1

    def __len__(self) -> int:
        return (len(self._starts) - 1) // self._parts

    @overload
    def __getitem__(self, which: int, /) -> list[int]: ...
    @overload
    def __getitem__(self, which: slice, /) -> Order: ...
    def __getitem__(self, which: int | slice, /) -> list[int] | Order:
        if isinstance(which, slice):
            first, end, step = which.indices(len(self))
            if step != 1:
                raise ValueError("a slice of an order has step 1")
            return self._like(self._starts[first * self._parts : max(first, end) * self._parts + 1])
        if not -len(self) <= which < len(self):
            raise IndexError(f"there are {len(self)} batches, not {which}")
        place = which % len(self) * self._parts
        first, end = int(self._starts[place]), int(self._starts[place + self._parts])
        if self._parts > 1 and self._world > 1:
            first, end = int(self._starts[place + self._rank]), int(self._starts[place + self._rank + 1])
            return self._indices(first, end)
        return self._indices(first, end)[self._rank :: self._world]

    def share(self, rank: int, world: int) -> Order:
        """The share of one process in each batch.

        Raises:
            CrlError: the batches were made for another number of processes.
        """
        if self._parts not in (1, world):
            raise CrlError(f"these batches were made for {self._parts} processes, but there are {world}")
        mine = self._like(self._starts)
        mine._rank, mine._world = rank, world
        return mine

    def _like(self, starts: range | Tensor) -> Order:
        other = Order(self._index, starts, self._parts)
        other._rank, other._world = self._rank, self._world
        return other

    def _indices(self, first: int, end: int) -> list[int]:
        indices: list[int] = self._index[first:end].tolist()
        return indices


def ordered(order: Tensor, batch_size: int, drop_last: bool = True) -> Order:
    """Batches of items in this order `[K]`; a last batch that isn't full is dropped, or kept with `drop_last=False`.

    >>> import torch
    >>> list(ordered(torch.tensor([3, 1, 2, 0, 4]), 2))
    [[3, 1], [2, 0]]

    Raises:
        ValueError: the batch size is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"a batch has at least 1 item, not {batch_size}")
    count = len(order) // batch_size if drop_last else -(-len(order) // batch_size)
    return Order(order, range(0, count * batch_size + 1, batch_size))


def share_of(batches: Sequence[Sequence[int] | Tensor], rank: int, world: int) -> Sequence[Sequence[int] | Tensor]:
    """The share of one process in each batch of an epoch."""
    if isinstance(batches, Order):
        return batches.share(rank, world)
    return batches if world == 1 else [batch[rank::world] for batch in batches]
