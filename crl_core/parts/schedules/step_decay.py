from __future__ import annotations

from typing import Any

import attrs
from attrs.validators import gt

from ...contracts.parts import Progress
from .warmup import at_least_zero, rise, share, warmup_steps


def _rising_shares(instance: Any, field: Any, value: list[float]) -> None:
    for moment in value:
        share(instance, field, moment)
    if sorted(set(value)) != list(value):
        raise ValueError(f"{field.name} are moments one after the other, not {value!r}")


@attrs.frozen
class StepDecay:
    """A linear rise, then a constant rate that drops by a factor at some moments of the run (He et al. 2016).

    >>> import crl_core as crl
    >>> schedule = crl.StepDecay([0.6, 0.8])  # of 200 epochs, after the 120th and the 160th
    >>> [round(schedule(crl.Progress(step, 100, 0, 1)), 3) for step in (0, 59, 60, 80)]
    [1.0, 1.0, 0.1, 0.01]

    Args:
        at: the moments, as shares of the run from 0 to 1.
        factor: what the rate is multiplied by at each of them.
        warmup: epochs of the rise from 0; a tenth of the run, where the run is no longer than that.

    Raises:
        ValueError: a number is out of its range, or the moments are not in order.
    """

    at: list[float] = attrs.field(factory=lambda: [0.6, 0.8], validator=_rising_shares)
    factor: float = attrs.field(default=0.1, validator=gt(0))
    warmup: float = attrs.field(default=0.0, validator=at_least_zero)

    def __call__(self, progress: Progress) -> float:
        rising = rise(progress, warmup_steps(self.warmup, progress))
        if rising is not None:
            return rising
        return float(self.factor ** sum(progress.fraction >= moment for moment in self.at))
