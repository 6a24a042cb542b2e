from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from ..schedules.scheduled import Scheduled
from .temperature import divisor


def product(query: Tensor, key: Tensor) -> Tensor:
    """Dot products: `[N, D]` with `[M, D]` to `[N, M]`, `[N, 1 | K, D]` with `[N, K, D]` to `[N, K]`."""
    if query.dim() == 2:
        return query @ key.T
    if query.shape[1] == 1:
        return (key @ query.mT).squeeze(-1)
    return (query * key).sum(-1)


class Dot(nn.Module):
    """The dot product, divided by a temperature.

    Queries `[N, D]` and keys `[M, D]` to scores `[N, M]`; or keys per query `[N, K, D]` to `[N, K]`. Lengths count: for
    directions alone, take `Cosine`.

    >>> import torch
    >>> import crl_core as crl
    >>> query, key = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 0.0], [0.0, 3.0]])
    >>> crl.Dot()(query, key)
    tensor([[3., 6.]])

    Args:
        temperature: above 0; a number, or a `Scheduled`.

    Raises:
        ValueError: the temperature is not above 0.
    """

    measures: ClassVar[str] = "similarity"
    symmetric: ClassVar[bool] = True

    def __init__(self, temperature: float | Scheduled = 1.0) -> None:
        super().__init__()
        self.temperature = temperature
        self.divisor = divisor(temperature)

    def factors(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        scale = self.divisor.scale()
        if key is query:
            # Each takes half of the scale, so that they stay one tensor.
            both = query * scale**0.5
            return both, both
        return query * scale, key

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        return product(*self.factors(query, key))
