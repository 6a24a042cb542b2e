from __future__ import annotations

import math

import attrs

from ...protocols import Progress
from .warmup import after, at_least_zero, rise, share, warmup_steps


@attrs.frozen
class CosineDecay:
    """A straight rise, then half a cosine down (Loshchilov, Hutter 2017, without restarts).

    >>> CosineDecay(warmup=5.0)(Progress(step=0, steps=100, epoch=0, epochs=10))
    0.02

    Args:
        warmup: epochs of the rise from 0; a tenth of the run, where the run is no longer than that.
        final: what is left at the end, as a share of the highest.
    """

    warmup: float = attrs.field(default=0.0, validator=at_least_zero)
    final: float = attrs.field(default=0.0, validator=share)

    def __call__(self, progress: Progress) -> float:
        steps = warmup_steps(self.warmup, progress)
        rising = rise(progress, steps)
        if rising is not None:
            return rising
        fall = 0.5 * (1 + math.cos(math.pi * after(progress, steps)))
        return self.final + (1 - self.final) * fall
