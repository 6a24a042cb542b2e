from __future__ import annotations

from torch import Tensor, nn

from ..lazy import Lazy


class HiddenLayer(Lazy):
    """One layer of a perceptron by itself: linear, batch normalisation, ReLU.

    For a branch whose representation is taken inside a head: SimCLR v2 (Chen et al. 2020) takes it after the first
    layer. `[…, width]` to `[…, size]`.

    >>> import torch
    >>> import crl_core as crl
    >>> output = crl.HiddenLayer(16)(torch.randn(32, 8))
    >>> output.shape, output.min().item()
    (torch.Size([32, 16]), 0.0)

    Args:
        size: width of the layer; None stands for the width of the input.
        norm: batch normalisation, over all rows.
    """

    def __init__(self, size: int | None = None, norm: bool = True) -> None:
        super().__init__()
        self.size, self.norm = size, norm

    def build(self, width: int) -> None:
        size = self.size or width
        # Batch normalisation has a shift of its own.
        norm = [nn.BatchNorm1d(size)] if self.norm else []
        self.layers = nn.Sequential(nn.Linear(width, size, bias=not self.norm), *norm, nn.ReLU())

    def forward(self, features: Tensor) -> Tensor:
        """`[…, width]` to `[…, size]`; batch statistics are taken over all rows."""
        self.ensure_built(features)
        output: Tensor = self.layers(features.flatten(0, -2))
        return output.view(*features.shape[:-1], output.shape[-1])
