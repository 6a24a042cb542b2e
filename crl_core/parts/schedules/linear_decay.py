from __future__ import annotations

import attrs

from ...contracts.parts import Progress
from .warmup import after, at_least_zero, rise, share, warmup_steps


@attrs.frozen
class LinearDecay:
    """A linear rise, then a linear fall (Devlin et al. 2019; word2vec, Mikolov et al. 2013, without a rise).

    >>> import crl_core as crl
    >>> schedule = crl.LinearDecay()
    >>> [schedule(crl.Progress(step, 100, step // 10, 10)) for step in (0, 25, 50, 100)]
    [1.0, 0.75, 0.5, 0.0]

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
        return self.final + (1 - self.final) * (1 - after(progress, steps))
