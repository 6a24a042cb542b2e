"""What a relation does to a head, so that the result is compared with a tail.

All take the features `head`, `[N, D]` or `[N, K, D]` for K heads of each triple, and `relation`, one a triple;
and give vectors of the shape of `head`.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


class Translation(nn.Module):
    """head + relation (TransE, Bordes et al. 2013); relations are vectors `[N, D]`.

    >>> import torch
    >>> from crl_graph.heads.relations import Translation
    >>> Translation()({"head": torch.tensor([[1.0, 2.0]]), "relation": torch.tensor([[10.0, 20.0]])})
    tensor([[11., 22.]])
    """

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        return features["head"] + _beside(features)


class Diagonal(nn.Module):
    """head ⊙ relation, the matrix product with a diagonal matrix (DistMult, Yang et al. 2015); vectors `[N, D]`.

    >>> import torch
    >>> from crl_graph.heads.relations import Diagonal
    >>> Diagonal()({"head": torch.tensor([[1.0, 2.0]]), "relation": torch.tensor([[10.0, 20.0]])})
    tensor([[10., 40.]])
    """

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        return features["head"] * _beside(features)


class MatrixProduct(nn.Module):
    """relation · head, for relations that are matrices `[N, D, D]` (LRE, Paccanaro and Hinton 2001).

    With a dot product as its score it is RESCAL (Nickel et al. 2011).

    >>> import torch
    >>> from crl_graph.heads.relations import MatrixProduct
    >>> swap = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])
    >>> MatrixProduct()({"head": torch.tensor([[1.0, 2.0]]), "relation": swap})
    tensor([[2., 1.]])
    """

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        head, turned = features["head"], features["relation"].mT
        return (head.unsqueeze(-2) @ turned).squeeze(-2) if head.dim() == 2 else head @ turned


def _beside(features: Mapping[str, Tensor]) -> Tensor:
    """The relation `[N, D]`, with a dimension for several heads of each triple."""
    head, relation = features["head"], features["relation"]
    return relation if head.dim() == relation.dim() else relation.unsqueeze(-2)
