from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from ..schedules.scheduled import Scheduled
from .temperature import divisor


class L1(nn.Module):
    """The negative sum of absolute differences, divided by a temperature (TransE, Bordes et al. 2013).

    Queries `[N, D]` and keys `[M, D]` to scores `[N, M]`; or keys per query `[N, K, D]` to `[N, K]`. At most 0; higher
    means closer.

    >>> import torch
    >>> import crl_core as crl
    >>> crl.L1()(torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 2.0], [0.0, 0.5]]))
    tensor([[-3.0000, -0.5000]])

    Args:
        temperature: above 0; a number, or a `Scheduled`.

    Raises:
        ValueError: the temperature is not above 0.
    """

    measures: ClassVar[str] = "distance"
    symmetric: ClassVar[bool] = True

    def __init__(self, temperature: float | Scheduled = 1.0) -> None:
        super().__init__()
        self.temperature = temperature
        self.divisor = divisor(temperature)

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        distance = torch.cdist(query, key, p=1.0) if query.dim() == 2 else (query - key).abs().sum(-1)
        return -distance * self.divisor.scale()
