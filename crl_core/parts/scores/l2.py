from __future__ import annotations

import torch
from torch import Tensor, nn

from .dot import positive_temperature


class L2(nn.Module):
    """The negative Euclidean distance, divided by a temperature; so higher means closer."""

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        self.temperature = positive_temperature(temperature)

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        # Not by the product of the tables: near distance zero that loses all digits.
        if query.dim() == 2:
            distance = torch.cdist(query, key, compute_mode="donot_use_mm_for_euclid_dist")
        else:
            distance = (query - key).norm(dim=-1)
        return distance / -self.temperature
