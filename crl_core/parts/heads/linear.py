from __future__ import annotations

from torch import Tensor, nn

from ..lazy import Lazy


class Linear(Lazy):
    """One linear map to `size` numbers: the head of Wu et al. 2018 and MoCo v1.

    `[…, width]` to `[…, size]`. Made for the width of its first input.

    >>> import torch
    >>> import crl_core as crl
    >>> crl.Linear(128)(torch.randn(32, 512)).shape
    torch.Size([32, 128])

    Args:
        size: numbers in an embedding.
        bias: add a learned vector.
    """

    def __init__(self, size: int = 128, bias: bool = True) -> None:
        super().__init__()
        self.size, self.bias = size, bias

    def build(self, width: int) -> None:
        self.layer = nn.Linear(width, self.size, bias=self.bias)

    def forward(self, features: Tensor) -> Tensor:
        """`[…, width]` to `[…, size]`."""
        self.ensure_built(features)
        output: Tensor = self.layer(features)
        return output
