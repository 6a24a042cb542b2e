from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .aligned import aligned


class VICReg(nn.Module):
    """Invariance, variance, covariance: λ s(Z, Z') + μ (v(Z) + v(Z')) / 2 + ν (c(Z) + c(Z')).

        s  the mean square of Z - Z', over pairs and dimensions;
        v  the mean over dimensions of max(0, 1 - √(variance + 0.0001));
        c  Σᵢ≠ⱼ Cᵢⱼ² / D, of the covariance matrix C; variance and covariance are divided by P - 1.

    Bardes et al. 2022, equations 1 to 6, in the scale of the authors' code, for which the weights 25, 25, 1 are meant:
    there s is divided by D too, and v is the mean of the two sides. Embeddings `[P, D]` of P pairs; one number for the
    batch. If all embeddings are equal, the loss is 0.99 μ.

    With pairs in both directions, v and c are over both views together.

    >>> import torch
    >>> import crl_core as crl
    >>> z = torch.ones(4, 2)  # collapsed: only the variance term is left
    >>> crl.VICReg(variance=25.0)(z, z)
    tensor(24.7500)

    Args:
        invariance, variance, covariance: λ, μ, ν.

    Raises:
        ValueError: a weight is below 0.
        CrlError: the tables differ in shape, or there are fewer than 2 pairs.
    """

    takes: ClassVar[Literal["batch"]] = "batch"

    def __init__(self, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0) -> None:
        super().__init__()
        for name, value in (("invariance", invariance), ("variance", variance), ("covariance", covariance)):
            if not value >= 0:
                raise ValueError(f"{name} is 0 or more, not {value!r}")
        self.invariance, self.variance, self.covariance = invariance, variance, covariance

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        query, key = aligned(self, query, key)
        return (
            self.invariance * F.mse_loss(query, key)
            + self.variance * (narrowness(query) + narrowness(key)) / 2
            + self.covariance * (redundancy(query) + redundancy(key))
        )


def narrowness(z: Tensor) -> Tensor:
    """v: by how much the columns' deviations fall short of 1."""
    return F.relu(1 - (z.var(0) + 1e-4).sqrt()).mean()


def redundancy(z: Tensor) -> Tensor:
    """c: the squared covariances of different columns."""
    centred = z - z.mean(0)
    covariance = centred.T @ centred / (len(z) - 1)
    others = covariance - torch.diag(covariance.diagonal())
    return others.square().sum() / z.shape[1]
