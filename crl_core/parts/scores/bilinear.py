from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ..lazy import Lazy
from ..schedules.scheduled import Scheduled
from .dot import product
from .temperature import divisor


class Bilinear(Lazy):
    """query · W · key, divided by a temperature: a learned similarity.

    CPC, van den Oord et al. 2018; CURL, Laskin et al. 2020. Queries `[N, D]` and keys `[M, D]` to scores `[N, M]`; or
    keys per query `[N, K, D]` to `[N, K]`. W `[D, D]` is made for the first queries.

    >>> import torch
    >>> import crl_core as crl
    >>> query, key = torch.randn(4, 8), torch.randn(6, 8)
    >>> score = crl.Bilinear(start="identity")
    >>> torch.allclose(score(query, key), crl.Dot()(query, key))  # before it has learned anything
    True
    >>> score.weight.shape
    torch.Size([8, 8])

    Args:
        temperature: above 0; a number, or a `Scheduled`.
        start: W at the beginning: "identity" is the dot product (OASIS, Chechik et al. 2010), "uniform"
            draws from 0 to 1 (CURL's source), "normal" from a normal distribution of variance 1/D.

    Raises:
        ValueError: the temperature is not above 0.
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
