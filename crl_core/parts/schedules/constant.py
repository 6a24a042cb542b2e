from __future__ import annotations

import attrs

from ...contracts.parts import Progress
from .warmup import at_least_zero, rise, warmup_steps


@attrs.frozen
class Constant:
    """The same factor over the whole run, after a warm-up if there is one.

    >>> import crl_core as crl
    >>> schedule = crl.Constant(warmup=1.0)  # the first of ten epochs
    >>> [schedule(crl.Progress(step, 100, step // 10, 10)) for step in (0, 4, 9, 50, 99)]
    [0.1, 0.5, 1.0, 1.0, 1.0]

    Args:
        warmup: epochs of a linear rise from 0; a tenth of the run, if the run is no longer than that.

    Raises:
        ValueError: the warm-up is below 0 or infinite.
    """

    warmup: float = attrs.field(default=0.0, validator=at_least_zero)

    def __call__(self, progress: Progress) -> float:
        rising = rise(progress, warmup_steps(self.warmup, progress))
        return 1.0 if rising is None else rising
