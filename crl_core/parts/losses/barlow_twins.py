from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .aligned import aligned


class BarlowTwins(nn.Module):
    """Makes the cross-correlation C of query and key the identity: Σᵢ (1 - Cᵢᵢ)² + λ Σᵢ≠ⱼ Cᵢⱼ².

    Zbontar et al. 2021, equations 1 and 2, with λ = 0.005. Embeddings `[P, D]` of P pairs; one number for the batch.
    Each dimension of each side is standardised over the pairs first, with 1e-5 added to the variance, as in batch
    normalisation. The authors' code scales the sum by 0.024; here that is the contrast's `weight`. If all embeddings
    are equal, the loss is D.

    With pairs in both directions, the statistics are over both views together, and C is the mean of itself and its
    transpose. The paper uses one view as query and the other as key.

    >>> import torch
    >>> import crl_core as crl
    >>> z = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])  # uncorrelated dimensions
    >>> loss = crl.BarlowTwins(redundancy=0.005)
    >>> [round(loss(query, z).item(), 3) for query in (z, -z, torch.ones_like(z))]
    [0.0, 8.0, 2.0]

    Args:
        redundancy: λ.

    Raises:
        ValueError: λ is below 0.
        CrlError: the tables differ in shape, or there are fewer than 2 pairs.
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
