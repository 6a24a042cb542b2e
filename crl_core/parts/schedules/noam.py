from __future__ import annotations

import attrs

from ...contracts.parts import Progress
from .warmup import at_least_zero, rise, warmup_steps


@attrs.frozen
class Noam:
    """A linear rise, then a fall with the inverse square root of the step (Vaswani et al. 2017, equation 3).

    Scaled to 1 at the end of the warm-up, where the paper's rate is 1 / sqrt(warmup · d), with the warm-up in steps.

    >>> import crl_core as crl
    >>> schedule = crl.Noam(warmup=1.0)  # ten steps
    >>> [round(schedule(crl.Progress(step, 100, step // 10, 10)), 3) for step in (0, 9, 39, 89)]
    [0.1, 1.0, 0.5, 0.333]

    Args:
        warmup: epochs of the rise from 0; a tenth of the run, if the run is no longer than that.

    Raises:
        ValueError: the warm-up is below 0 or infinite.
    """

    warmup: float = attrs.field(default=1.0, validator=at_least_zero)

    def __call__(self, progress: Progress) -> float:
        steps = max(1, warmup_steps(self.warmup, progress))
        rising = rise(progress, steps)
        return float((steps / (progress.step + 1)) ** 0.5) if rising is None else rising
