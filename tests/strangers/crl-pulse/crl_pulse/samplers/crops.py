"""Two crops of every series."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

import crl_core as crl


class Crops:
    """Two crops of each series `[N, channels, T]`, from places of their own, with a little noise.

    Args:
        length: samples of a crop.
        noise: standard deviation of what is added.
    """

    views: ClassVar[tuple[str, ...]] = ("a", "b")

    def __init__(self, length: int = 32, noise: float = 0.1) -> None:
        if length < 1:
            raise ValueError(f"length is at least 1, not {length}")
        self.length, self.noise = length, noise

    def __call__(self, batch: crl.View) -> crl.Views:
        return {name: self._cropped(batch) for name in self.views}

    def clean(self, batch: crl.View) -> crl.View:
        return batch

    def _cropped(self, batch: crl.View) -> crl.View:
        series: Tensor = batch.data
        count, channels, steps = series.shape
        length = min(self.length, steps)
        start = torch.randint(steps - length + 1, (count,), device=series.device)
        index = start[:, None] + torch.arange(length, device=series.device)
        crops = series.gather(2, index[:, None].expand(-1, channels, -1))
        return crl.View(crops + self.noise * torch.randn_like(crops), {**batch.meta, "start": start})
