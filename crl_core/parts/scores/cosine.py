from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from .dot import positive_temperature, product


class Cosine(nn.Module):
    """The cosine of the angle between query and key, divided by a temperature.

    The default temperature is that of Chen et al. 2020 for small images.
    """

    symmetric: ClassVar[bool] = True

    def __init__(self, temperature: float = 0.5) -> None:
        super().__init__()
        self.temperature = positive_temperature(temperature)

    def factors(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        return F.normalize(query, dim=-1) / self.temperature, F.normalize(key, dim=-1)

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        return product(*self.factors(query, key))
