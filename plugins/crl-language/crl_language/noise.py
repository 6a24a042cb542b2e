"""Draws from a fixed law over numbers, in constant time for each."""

from __future__ import annotations

import torch
from torch import Tensor


class Alias:
    """Numbers from 0 to V - 1, drawn in proportion to their weights (Walker 1977; tables by Vose 1991).

    >>> import torch
    >>> from crl_language.noise import Alias
    >>> drawn = Alias(torch.tensor([3.0, 0.0, 1.0])).draw(1_000)
    >>> drawn.unique().tolist()
    [0, 2]

    Attributes:
        log_p: `[V]`, the log-probability of each number.
    """

    def __init__(self, weight: Tensor) -> None:
        share = weight.double() / weight.double().sum()
        self.log_p = share.log().float()
        self.stays, self.other = _tables((share * len(share)).tolist())

    def draw(self, *shape: int) -> Tensor:
        """Numbers of this shape."""
        # One random number says both, in which cell a draw falls and where in it.
        where = torch.rand(shape, dtype=torch.float64, device=self.stays.device) * len(self.stays)
        cell = where.long()
        return torch.where(where - cell < self.stays[cell], cell, self.other[cell])

    def to(self, device: torch.device) -> Alias:
        """The same, there."""
        if self.stays.device != device:
            self.log_p, self.stays, self.other = (each.to(device) for each in (self.log_p, self.stays, self.other))
        return self


def _tables(height: list[float]) -> tuple[Tensor, Tensor]:
    """For each cell: up to where it is its own number's, and whose the rest is. `height` has the mean 1."""
    stays, other = [1.0] * len(height), list(range(len(height)))
    low = [number for number, each in enumerate(height) if each < 1]
    high = [number for number, each in enumerate(height) if each >= 1]
    while low and high:
        number, giver = low.pop(), high[-1]
        stays[number], other[number] = height[number], giver
        height[giver] -= 1 - height[number]
        if height[giver] < 1:
            low.append(high.pop())
    return torch.tensor(stays, dtype=torch.float64), torch.tensor(other)
