from __future__ import annotations

from torch import Tensor

from ..lazy import Lazy
from .mlp import perceptron


class Prediction(Lazy):
    """Predicts one embedding from another: the predictor of BYOL (Grill et al. 2020).

    As wide at its end as at its start, with one hidden layer.

    Args:
        hidden: width of the hidden layer; None stands for the width of the input.
        norm: batch normalisation after the hidden layer.
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
