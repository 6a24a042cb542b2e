"""What a relation does to a head, so that the result is compared with a tail.

All take the features `head`, `[N, D]` or `[N, K, D]` for K heads of each triple, and `relation`, one a triple;
and give vectors of the shape of `head`.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


class Translation(nn.Module):
    """head + relation (TransE, Bordes et al. 2013); relations are vectors `[N, D]`."""

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        return features["head"] + _beside(features)


class Diagonal(nn.Module):
    """head ⊙ relation, the matrix product with a diagonal matrix (DistMult, Yang et al. 2015); vectors `[N, D]`."""

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        return features["head"] * _beside(features)


class MatrixProduct(nn.Module):
    """relation · head, for relations that are matrices `[N, D, D]` (LRE, Paccanaro and Hinton 2001).

    With a dot product for its score it is RESCAL (Nickel et al. 2011).
    """

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        head, turned = features["head"], features["relation"].mT
        return (head.unsqueeze(-2) @ turned).squeeze(-2) if head.dim() == 2 else head @ turned


def _beside(features: Mapping[str, Tensor]) -> Tensor:
    """The relation `[N, D]` as it stands beside the heads."""
    head, relation = features["head"], features["relation"]
    return relation if head.dim() == relation.dim() else relation.unsqueeze(-2)
