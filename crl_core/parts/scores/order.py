from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from ..schedules.scheduled import Scheduled
from .temperature import divisor


class Order(nn.Module):
    """How much the query falls short of the key: -‖max(0, key - query)‖², divided by a temperature.

    For what contains and what is contained (order embeddings, Vendrov et al. 2016, equation 2). Not symmetric: 0 if the
    query is at least as large as the key in every dimension. Queries `[N, D]` and keys `[M, D]` to scores `[N, M]`; or
    keys per query `[N, K, D]` to `[N, K]`.

    >>> import torch
    >>> import crl_core as crl
    >>> large, small = torch.tensor([[3.0, 3.0]]), torch.tensor([[1.0, 2.0]])
    >>> crl.Order()(small, large).item(), crl.Order()(large, small).item() == 0
    (-5.0, True)

    Args:
        temperature: above 0; a number, or a `Scheduled`.

    Raises:
        ValueError: the temperature is not above 0.
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
