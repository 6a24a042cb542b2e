from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .aligned import aligned


class BarlowTwins(nn.Module):
    """The cross-correlation C of query and key is to be the identity: Σᵢ (1 - Cᵢᵢ)² + λ Σᵢ≠ⱼ Cᵢⱼ².

    Zbontar et al. 2021, equations 1 and 2, with λ = 0.005. Every dimension of either side is standardised
    over the pairs `[P, D]` first, with 1e-5 beside the variance, as batch normalisation does. The authors'
    code scales the sum by 0.024; here that is the contrast's `weight`. All embeddings equal: D.

    With pairs in both directions, the statistics are those of both views together and C is the mean of
    itself and its transpose. The paper's form has the one view as query and the other as key.

    Args:
        redundancy: λ.
    """

    takes: ClassVar[Literal["batch"]] = "batch"

    def __init__(self, redundancy: float = 0.005) -> None:
        super().__init__()
        if not redundancy >= 0:
            raise ValueError(f"redundancy is 0 or more, not {redundancy!r}")
        self.redundancy = redundancy

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        query, key = aligned(self, query, key)
        correlation = standardised(query).T @ standardised(key) / len(query)
        diagonal = correlation.diagonal()
        others = correlation - torch.diag(diagonal)
        return (1 - diagonal).square().sum() + self.redundancy * others.square().sum()


def standardised(z: Tensor) -> Tensor:
    """Every column with mean 0 and variance 1."""
    return F.batch_norm(z, None, None, training=True)
