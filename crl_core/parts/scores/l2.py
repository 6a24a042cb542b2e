from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from .temperature import divisor


class L2(nn.Module):
    """The negative Euclidean distance, or its square, divided by a temperature; so higher means closer."""

    symmetric: ClassVar[bool] = True

    def __init__(self, temperature: float = 1.0, squared: bool = False) -> None:
        super().__init__()
        self.temperature, self.squared = temperature, squared
        self.divisor = divisor(temperature)

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        # Not by the product of the tables: near distance zero that loses all digits.
        if query.dim() == 2:
            distance = torch.cdist(query, key, compute_mode="donot_use_mm_for_euclid_dist")
        else:
            distance = (query - key).norm(dim=-1)
        return -(distance.square() if self.squared else distance) * self.divisor.scale()
