from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from crl_core import product


class Gaussian(nn.Module):
    """The logarithm of a Gaussian around the key, without its constant: -‖query - key‖² / (2 width²)."""

    symmetric: ClassVar[bool] = True

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        if not width > 0:
            raise ValueError(f"width is above 0, not {width!r}")
        self.width = width

    def factors(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """q·k - ‖q‖²/2 - ‖k‖²/2 as one product: of (q, ‖q‖²/2, 1) with (k, -1, -‖k‖²/2)."""
        query, key = query / self.width, key / self.width
        left = torch.cat([query, _half_square(query), torch.ones_like(query[..., :1])], dim=-1)
        right = torch.cat([key, -torch.ones_like(key[..., :1]), -_half_square(key)], dim=-1)
        return left, right

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        return product(*self.factors(query, key))


def _half_square(rows: Tensor) -> Tensor:
    return rows.square().sum(-1, keepdim=True) / 2
