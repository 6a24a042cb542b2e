from __future__ import annotations

import math

import attrs

from ...contracts.parts import Progress
from .warmup import after, at_least_zero, rise, share, warmup_steps


@attrs.frozen
class CosineDecay:
    """A linear rise, then half a cosine down (Loshchilov, Hutter 2017, without restarts).

    >>> import crl_core as crl
    >>> schedule = crl.CosineDecay(warmup=5.0)
    >>> [round(schedule(crl.Progress(step, 100, step // 10, 10)), 3) for step in (0, 25, 49, 75, 100)]
    [0.02, 0.52, 1.0, 0.5, 0.0]

    Args:
        warmup: epochs of the rise from 0; a tenth of the run, if the run is no longer than that.
        final: the factor at the end, from 0 to 1.

    Raises:
        ValueError: a number is out of its range.
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
