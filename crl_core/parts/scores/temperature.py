"""What scores are divided by: fixed, learned, or on a schedule."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..schedules.scheduled import Scheduled, ends

LOWEST = 0.01  # of a learned temperature, as in CLIP


def divisor(temperature: float | Scheduled, learned: bool = False) -> Fixed | Learned | Moving:
    """Something whose `scale()` is 1 / temperature.

    Raises:
        ValueError: a temperature is not above 0, or it has a schedule and is learned.
    """
    for value in ends(temperature):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"a temperature is above 0, not {value!r}")
    if isinstance(temperature, Scheduled):
        if learned:
            raise ValueError("a temperature is learned, or it has a schedule; not both")
        return Moving(temperature)
    return Learned(temperature) if learned else Fixed(temperature)


class Fixed(nn.Module):
    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def scale(self) -> float:
        return 1 / self.temperature


class Learned(nn.Module):
    """Trains log(1 / temperature) (CLIP, Radford et al. 2021)."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(-math.log(start)))

    def scale(self) -> Tensor:
        return self.log_scale.clamp(max=-math.log(LOWEST)).exp()


class Moving:
    """Of a `Scheduled`, which its score has as a part; no module, so that it is saved once."""

    def __init__(self, temperature: Scheduled) -> None:
        self.temperature = temperature

    def scale(self) -> Tensor:
        return self.temperature.now.reciprocal()
