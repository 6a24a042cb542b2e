from __future__ import annotations

import attrs

from ...protocols import Progress
from .warmup import after, at_least_zero, rise, share, warmup_steps


@attrs.frozen
class LinearDecay:
    """A straight rise, then a straight fall (Devlin et al. 2019; word2vec, Mikolov et al. 2013, without a rise).

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
        return self.final + (1 - self.final) * (1 - after(progress, steps))
