from __future__ import annotations

from torch import Tensor, nn

from ...errors import CrlError


class Prefix(nn.Module):
    """The first `size` numbers of a vector: Matryoshka representations (Kusupati et al. 2022).

    `[…, width]` to `[…, size]`. A branch that taps another with this head, and a contrast for each of several sizes,
    train a vector whose beginning is a good vector too: one that can be cut to save memory.

    >>> import torch
    >>> import crl_core as crl
    >>> crl.Prefix(2)(torch.tensor([[1.0, 2.0, 3.0]]))
    tensor([[1., 2.]])

    Args:
        size: how many numbers are kept.

    Raises:
        CrlError: it is below 1, or above the width.
    """

    def __init__(self, size: int = 8) -> None:
        super().__init__()
        if size < 1:
            raise CrlError(f"a prefix has 1 number or more, not {size}")
        self.size = size

    def forward(self, features: Tensor) -> Tensor:
        """`[…, width]` to `[…, size]`."""
        if self.size > features.shape[-1]:
            raise CrlError(f"a vector of {features.shape[-1]} numbers has no prefix of {self.size}")
        return features[..., : self.size]
