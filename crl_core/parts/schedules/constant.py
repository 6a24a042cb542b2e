from __future__ import annotations

import attrs

from ...protocols import Progress
from .warmup import at_least_zero, rise, warmup_steps


@attrs.frozen
class Constant:
    """The same over the whole run, after a warm-up if there is one.

    Args:
        warmup: epochs of a straight rise from 0; a tenth of the run, where the run is no longer than that.
    """

    warmup: float = attrs.field(default=0.0, validator=at_least_zero)

    def __call__(self, progress: Progress) -> float:
        rising = rise(progress, warmup_steps(self.warmup, progress))
        return 1.0 if rising is None else rising
