from __future__ import annotations

import torch
from torch import Tensor

from crl_core import View, Views


class Jittered:
    """Two views of each series `[N, channels, length]`: shifted in time, scaled, and with noise.

    Args:
        shift: the largest shift, as a share of the length, in either direction.
        scale: the logarithm of the largest factor, in either direction.
        noise: the standard deviation of the noise.
    """

    views = ("a", "b")

    def __init__(self, shift: float = 0.25, scale: float = 0.3, noise: float = 0.2) -> None:
        self.shift, self.scale, self.noise = shift, scale, noise

    def __call__(self, batch: View) -> Views:
        return {name: View(self._jittered(batch.data), batch.meta) for name in self.views}

    def clean(self, batch: View) -> View:
        return batch

    def _jittered(self, series: Tensor) -> Tensor:
        # Each row gets its own random numbers, and all tensors are made on the device of the data.
        count, _, length = series.shape
        shift = (self.shift * length * _between(count, series)).round().long()
        place = (torch.arange(length, device=series.device) + shift) % length
        rolled = series.gather(2, place.unsqueeze(1).expand_as(series))
        scale = (self.scale * _between(count, series)).exp().unsqueeze(-1)
        return scale * rolled + self.noise * torch.randn_like(series)


def _between(count: int, like: Tensor) -> Tensor:
    """`[count, 1]` random numbers from -1 to 1."""
    return 2 * torch.rand(count, 1, dtype=like.dtype, device=like.device) - 1
