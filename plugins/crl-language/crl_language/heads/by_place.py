from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from crl_core import CrlError, Embeddings, Lazy

_Weights = Literal["diagonal", "full"]


class ByPlace(Lazy):
    """Words weighted by where they stand: the log-bilinear models (Mnih and Hinton 2007; Mnih and Teh 2012).

    A window becomes the sum over its places i of C_i r_i: features `vectors` `[N, W, d]` and `there` `[N, W]` to
    `[N, d]`. A single word becomes C_i r for its place i: features `vectors` `[N, d]` and `place` `[N]` to `[N, d]`.

    >>> import torch
    >>> from crl_language.heads.by_place import ByPlace
    >>> head = ByPlace(places=2)
    >>> vectors, there = torch.ones(1, 2, 3), torch.tensor([[True, True]])
    >>> head({"vectors": vectors, "there": there}).z  # at the start the sum
    tensor([[2., 2., 2.]], grad_fn=<SumBackward1>)

    Args:
        places: how many there are: 2 · window, or as many as the window has words before the centre.
        weights: C_i is a "diagonal" matrix, or a "full" one.
        bias: appends 1 to each row, for words that have a bias as their last number.

    Raises:
        CrlError: there is no place, the weights are called something else, or a window has another number of places.
    """

    def __init__(self, places: int, weights: _Weights = "diagonal", bias: bool = False) -> None:
        super().__init__()
        if places < 1 or weights not in get_args(_Weights):
            raise CrlError(f'there is 1 place or more, with weights "diagonal" or "full", not {places} and {weights!r}')
        self.places, self.weights, self.bias = places, weights, bias

    def build(self, width: int) -> None:
        each = torch.ones(width) if self.weights == "diagonal" else torch.eye(width)
        self.weight = nn.Parameter(each.repeat(self.places, *[1] * each.dim()))

    def forward(self, features: Mapping[str, Tensor]) -> Embeddings:
        vectors = features["vectors"]
        self.ensure_built(vectors)
        if "place" in features:
            z, there = self._times(vectors, self.weight[features["place"]]), features["there"]
        elif vectors.shape[1] != self.places:
            raise CrlError(f"a window of {vectors.shape[1]} words, and weights for {self.places} places")
        else:
            z, there = self._times(vectors, self.weight).sum(1), features["there"].any(1)
        if self.bias:
            z = torch.cat([z, torch.ones_like(z[:, :1])], 1)
        return Embeddings(z, {"valid": there})

    def _times(self, vectors: Tensor, weight: Tensor) -> Tensor:
        return vectors * weight if self.weights == "diagonal" else (weight @ vectors.unsqueeze(-1)).squeeze(-1)
