from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from ..schedules.scheduled import Scheduled
from .temperature import divisor


class L2(nn.Module):
    """The negative Euclidean distance, or its negative square, divided by a temperature.

    Queries `[N, D]` and keys `[M, D]` to scores `[N, M]`; or keys per query `[N, K, D]` to `[N, K]`. At most 0; higher
    means closer.

    >>> import torch
    >>> import crl_core as crl
    >>> query, key = torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0], [0.0, 1.0]])
    >>> crl.L2()(query, key), crl.L2(squared=True)(query, key)
    (tensor([[-5., -1.]]), tensor([[-25.,  -1.]]))

    Args:
        temperature: above 0; a number, or a `Scheduled`.
        squared: the square of the distance.

    Raises:
        ValueError: the temperature is not above 0.
    """

    measures: ClassVar[str] = "distance"
    symmetric: ClassVar[bool] = True

    def __init__(self, temperature: float | Scheduled = 1.0, squared: bool = False) -> None:
        super().__init__()
        self.temperature, self.squared = temperature, squared
        self.divisor = divisor(temperature)

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        if query.dim() == 2 and query.dtype == torch.float32 and query.device.type == "cpu":
            distance = _by_product(query, key)
        elif query.dim() == 2:
            # Not by the product of the tables: near distance zero that loses half of the digits.
            distance = torch.cdist(query, key, compute_mode="donot_use_mm_for_euclid_dist")
        else:
            distance = (query - key).norm(dim=-1)
        return -(distance.square() if self.squared else distance) * self.divisor.scale()


def _by_product(query: Tensor, key: Tensor) -> Tensor:
    """Distances `[N, M]` from a product in float64, half of whose digits are all that float32 has; much the faster."""
    query, key = query.double(), key.double()
    of_query, of_key = query.square().sum(1, keepdim=True), key.square().sum(1)
    square = torch.addmm(of_key, query, key.T, alpha=-2) + of_query
    # What rounding leaves of equal rows is nothing, and has no gradient.
    some = square > 1e-13 * (of_query + of_key)
    return torch.where(some, square, 1.0).sqrt().float() * some
