from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from ..schedules.scheduled import Scheduled
from .dot import product
from .temperature import divisor
from .unit import unit


class Cosine(nn.Module):
    """The cosine of the angle between query and key, divided by a temperature.

    Queries `[N, D]` and keys `[M, D]` to scores `[N, M]`; or keys per query `[N, K, D]` to `[N, K]`. The default
    temperature is that of Chen et al. 2020 for small images. `Cosine(Scheduled(0.5, 0.1))` lowers it over the training.

    >>> import torch
    >>> import crl_core as crl
    >>> query, key = torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 3.0], [-1.0, 0.0]])
    >>> crl.Cosine(temperature=0.5)(query, key).round(decimals=3)
    tensor([[ 2.,  0., -2.]])

    Args:
        temperature: above 0; a number, or a `Scheduled`.
        learned: train the temperature, never below 0.01 (CLIP, Radford et al. 2021).
        bias: added to every score, and trained from there (-10 in SigLIP, Zhai et al. 2023).

    Raises:
        ValueError: the temperature is not above 0, or it is learned and has a schedule.
    """

    measures: ClassVar[str] = "similarity"
    symmetric: ClassVar[bool] = True

    def __init__(self, temperature: float | Scheduled = 0.5, learned: bool = False, bias: float | None = None) -> None:
        super().__init__()
        self.temperature, self.learned, self.bias = temperature, learned, bias
        self.divisor = divisor(temperature, learned)
        if bias is not None:
            self.offset = nn.Parameter(torch.tensor(bias))

    def factors(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        scale = self.divisor.scale()
        if self.bias is None and key is query:
            # Each takes half of the scale, so that they stay one tensor.
            both = unit(query, scale**0.5)
            return both, both
        query, key = unit(query, scale), unit(key)
        if self.bias is None:
            return query, key
        # One more dimension makes the sum a product.
        offset = self.offset.to(query.dtype).expand(*query.shape[:-1], 1)
        return torch.cat([query, offset], -1), torch.cat([key, key.new_ones(*key.shape[:-1], 1)], -1)

    def for_memory(self, key: Tensor) -> Tensor:
        """Directions alone, so that a memory's keys need not be normalised at every step."""
        return unit(key)

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        return product(*self.factors(query, key))
