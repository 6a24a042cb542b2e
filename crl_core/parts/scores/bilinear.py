from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ..lazy import Lazy
from ..schedules.scheduled import Scheduled
from .dot import product
from .temperature import divisor


class Bilinear(Lazy):
    """query · W · key: a learned similarity (CPC, van den Oord et al. 2018; CURL, Laskin et al. 2020).

    Args:
        start: W at the beginning: "identity" is the dot product (OASIS, Chechik et al. 2010), "uniform"
            draws from 0 to 1 (CURL's source), "normal" from a normal distribution of variance 1/D.
    """

    measures: ClassVar[str] = "similarity"

    def __init__(
        self, temperature: float | Scheduled = 1.0, start: Literal["identity", "uniform", "normal"] = "identity"
    ) -> None:
        super().__init__()
        self.temperature, self.start = temperature, start
        self.divisor = divisor(temperature)

    def build(self, width: int) -> None:
        if self.start == "identity":
            weight = torch.eye(width)
        elif self.start == "uniform":
            weight = torch.rand(width, width)
        else:
            weight = torch.randn(width, width) / width**0.5
        self.weight = nn.Parameter(weight)

    def factors(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        self.ensure_built(query)
        return query @ self.weight * self.divisor.scale(), key

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        return product(*self.factors(query, key))
