"""What scores are divided by: fixed, learned, or on a schedule."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ...protocols import Progress

LOWEST = 0.01  # of a learned temperature, as in CLIP


def divisor(start: float, learned: bool = False, final: float | None = None) -> Fixed | Learned | Scheduled:
    """A module whose `scale()` is 1 / temperature.

    Raises:
        ValueError: a temperature is not above 0, or it has a schedule and is learned.
    """
    for value in (start, final):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise ValueError(f"a temperature is above 0, not {value!r}")
    if learned and final is not None:
        raise ValueError("a temperature is learned, or it goes to a final value; not both")
    if learned:
        return Learned(start)
    return Fixed(start) if final is None else Scheduled(start, final)


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


class Scheduled(nn.Module):
    """Goes from one temperature to another along half a cosine over the training."""

    now: Tensor

    def __init__(self, start: float, final: float) -> None:
        super().__init__()
        self.start, self.final = start, final
        self.register_buffer("now", torch.tensor(start))

    def scale(self) -> Tensor:
        return self.now.reciprocal()

    def on_step(self, progress: Progress) -> None:
        rest = (1 + math.cos(math.pi * progress.fraction)) / 2
        self.now.fill_(self.final + (self.start - self.final) * rest)
