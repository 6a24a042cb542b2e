from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .dot import product
from .temperature import divisor


class Cosine(nn.Module):
    """The cosine of the angle between query and key, divided by a temperature.

    The default temperature is that of Chen et al. 2020 for small images.

    Args:
        learned: train the temperature, never below 0.01 (CLIP, Radford et al. 2021).
        final: let it fall, or rise, to this one along half a cosine over the training.
        bias: added to every score, and trained from there (-10 in SigLIP, Zhai et al. 2023).
    """

    symmetric: ClassVar[bool] = True

    def __init__(
        self, temperature: float = 0.5, learned: bool = False, final: float | None = None, bias: float | None = None
    ) -> None:
        super().__init__()
        self.temperature, self.learned, self.final, self.bias = temperature, learned, final, bias
        self.divisor = divisor(temperature, learned, final)
        if bias is not None:
            self.offset = nn.Parameter(torch.tensor(bias))

    def factors(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        query, key = F.normalize(query, dim=-1) * self.divisor.scale(), F.normalize(key, dim=-1)
        if self.bias is None:
            return query, key
        # One more dimension makes the sum a product.
        offset = self.offset.to(query.dtype).expand(*query.shape[:-1], 1)
        return torch.cat([query, offset], -1), torch.cat([key, key.new_ones(*key.shape[:-1], 1)], -1)

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        return product(*self.factors(query, key))
