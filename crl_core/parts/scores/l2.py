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
        # cdist has the right gradient (zero) at distance zero, where a square root has none.
        if query.dim() == 2:
            return -torch.cdist(query, key) / self.temperature
        return -torch.linalg.vector_norm(query - key, dim=-1) / self.temperature
