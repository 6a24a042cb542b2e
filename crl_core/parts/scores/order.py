from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from ..schedules.scheduled import Scheduled
from .temperature import divisor


class Order(nn.Module):
    """How far the query is from lying above the key in every dimension: -‖max(0, key - query)‖².

    Asymmetric, for what contains and what is contained (order embeddings, Vendrov et al. 2016, equation 2).
    """

    measures: ClassVar[str] = "distance"
    symmetric: ClassVar[bool] = False

    def __init__(self, temperature: float | Scheduled = 1.0) -> None:
        super().__init__()
        self.temperature = temperature
        self.divisor = divisor(temperature)

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        if query.dim() == 2:
            query, key = query.unsqueeze(1), key.unsqueeze(0)
        return -(key - query).relu().square().sum(-1) * self.divisor.scale()
