from __future__ import annotations

import attrs

from ...protocols import Progress
from .warmup import at_least_zero, rise, warmup_steps


@attrs.frozen
class Noam:
    """A straight rise, then a fall with the inverse square root of the step (Vaswani et al. 2017, equation 3).

    In the paper's words it is sqrt(warmup · d) times the rate there, so that it is 1 at the end of the warm-up.

    Args:
        warmup: epochs of the rise from 0; a tenth of the run, where the run is no longer than that.
    """

    warmup: float = attrs.field(default=1.0, validator=at_least_zero)

    def __call__(self, progress: Progress) -> float:
        steps = max(1, warmup_steps(self.warmup, progress))
        rising = rise(progress, steps)
        return float((steps / (progress.step + 1)) ** 0.5) if rising is None else rising
