from __future__ import annotations

import torch
from torch import Tensor, nn

from crl_core import CrlError

from .table import looked_up


class Matrices(nn.Module):
    """A square matrix for each of `count` relations (Paccanaro and Hinton 2001; RESCAL, Nickel et al. 2011).

    They begin normal, of variance 1/size, so that a vector keeps about its length.
    """

    def __init__(self, count: int, size: int = 64) -> None:
        super().__init__()
        if count < 1 or size < 1:
            raise CrlError(f"at least 1 matrix of at least 1 row, not {count} of {size}")
        self.count, self.size = count, size
        self.weight = nn.Parameter(torch.empty(count, size * size))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        self.weight.normal_(std=self.size**-0.5)

    def forward(self, which: Tensor) -> Tensor:
        """The matrices `[…, size, size]` of these numbers `[…]`."""
        return looked_up(self.weight, which).view(*which.shape, self.size, self.size)
