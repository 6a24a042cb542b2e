from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from crl_core import CrlError, View, did_you_mean


class Waves:
    """Made-up series of two channels with noise. The label is the shape: sine, saw or square.

    Args:
        count: the number of series for training; there are a quarter as many for testing.
        length: the length of a series in time steps.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "test")

    def __init__(self, count: int = 384, length: int = 64) -> None:
        self.count, self.length = count, length

    def items(self, split: str) -> Series:
        if split not in self.splits:
            raise CrlError(f"no split {split!r}; there are {', '.join(self.splits)}.{did_you_mean(split, self.splits)}")
        train = split == "train"
        return Series(*_waves(self.count if train else self.count // 4, self.length, seed=0 if train else 1))


class Series:
    """The items of one split."""

    def __init__(self, data: Tensor, label: Tensor) -> None:
        self.data, self.label = data, label

    def __len__(self) -> int:
        return len(self.data)

    def __getitems__(self, indices: list[int]) -> View:
        index = torch.tensor(indices)
        return View(self.data[index], {"instance": index, "label": self.label[index]})


def _waves(count: int, length: int, seed: int) -> tuple[Tensor, Tensor]:
    """Series `[count, 2, length]` and their shapes; the second channel is a quarter of a period later."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(count) % 3
    periods, start = 2 + 2 * torch.rand(count, generator=generator), torch.rand(count, generator=generator)
    steps = torch.linspace(0, 1, length) * periods.unsqueeze(1) + start.unsqueeze(1)
    phase = torch.stack([steps, steps + 0.25], dim=1) % 1
    sine, saw = (2 * math.pi * phase).sin(), 2 * phase - 1
    shapes = torch.stack([sine, saw, sine.sign()])
    data = shapes[label, torch.arange(count)]
    return data + 0.3 * torch.randn(data.shape, generator=generator), label
