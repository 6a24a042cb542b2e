from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crl_core import CrlError, Progress


class Table(nn.Module):
    """A vector for each of `count` nodes, entities or relations.

    Args:
        count: how many there are; whole numbers from 0 to `count` - 1 name them.
        size: numbers in a vector.
        spread: vectors begin uniform from -spread to spread; by default 6/√size (Bordes et al. 2013).
        unit: "kept" sets every vector to length 1, at the start and again after every step; "start" at
            the start alone.
    """

    def __init__(
        self, count: int, size: int = 64, spread: float | None = None, unit: Literal["kept", "start"] | None = None
    ) -> None:
        super().__init__()
        if count < 1 or size < 1:
            raise CrlError(f"a table has at least 1 row of at least 1 number, not {count} of {size}")
        self.count, self.size, self.spread, self.unit = count, size, spread, unit
        self.weight = nn.Parameter(torch.empty(count, size))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        spread = 6 / math.sqrt(self.size) if self.spread is None else self.spread
        self.weight.uniform_(-spread, spread)
        if self.unit is not None:
            self._to_unit()

    def forward(self, which: Tensor) -> Tensor:
        """The vectors `[…, size]` of these numbers `[…]`."""
        return looked_up(self.weight, which)

    def on_step(self, progress: Progress) -> None:
        if self.unit == "kept":
            self._to_unit()

    @torch.no_grad()
    def _to_unit(self) -> None:
        F.normalize(self.weight, dim=1, out=self.weight)


def looked_up(weight: Tensor, which: Tensor) -> Tensor:
    """Rows of a table by their numbers.

    Raises:
        CrlError: a number is not from 0 to the last row's; on a GPU torch itself stops the process.
    """
    if which.is_floating_point():
        raise CrlError(f"a table is asked for whole numbers, not for numbers of type {which.dtype}")
    try:
        # Its gradient takes half as long as that of F.embedding.
        return weight.index_select(0, which.flatten()).view(*which.shape, weight.shape[1])
    except IndexError:
        raise CrlError(
            f"a table of {len(weight)} rows was asked for number {int(which.max())} and {int(which.min())}: "
            f"made for another source, or a node or entity that is unknown?"
        ) from None
