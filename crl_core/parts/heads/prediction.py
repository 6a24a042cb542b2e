from __future__ import annotations

from torch import Tensor

from ..lazy import Lazy
from .mlp import perceptron


class Prediction(Lazy):
    """Predicts one embedding from another: the predictor of BYOL (Grill et al. 2020).

    `[…, width]` to `[…, width]`, with one hidden layer.

    >>> import torch
    >>> import crl_core as crl
    >>> crl.Prediction(hidden=512)(torch.randn(32, 128)).shape
    torch.Size([32, 128])
    >>> crl.Branch(tap="online", head=crl.Prediction()).tap  # usually one more head on a branch's embedding
    'online'

    Args:
        hidden: width of the hidden layer; None stands for the width of the input.
        norm: batch normalisation after the hidden layer, over all rows.
    """

    def __init__(self, hidden: int | None = None, norm: bool = True) -> None:
        super().__init__()
        self.hidden, self.norm = hidden, norm

    def build(self, width: int) -> None:
        self.layers = perceptron(width, self.hidden or width, width, 2, self.norm)

    def forward(self, features: Tensor) -> Tensor:
        """`[…, width]` to `[…, width]`."""
        self.ensure_built(features)
        output: Tensor = self.layers(features.flatten(0, -2))
        return output.view(*features.shape[:-1], output.shape[-1])
