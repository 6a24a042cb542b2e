from __future__ import annotations

import attrs

from ...contracts.parts import Progress
from .warmup import share


def _above_zero(instance: object, field: attrs.Attribute[float], value: float) -> None:
    if not 0 < value <= 1:
        raise ValueError(f"{field.name} is above 0 and at most 1, not {value!r}")


@attrs.frozen
class TriStage:
    """A linear rise, a plateau, and an exponential fall (SpecAugment, Park et al. 2019; wav2vec 2.0 fine-tuning).

    >>> import crl_core as crl
    >>> schedule = crl.TriStage(rise=0.1, hold=0.4)
    >>> [round(schedule(crl.Progress(step, 100, 0, 1)), 3) for step in (0, 10, 50, 75, 100)]
    [0.01, 1.0, 1.0, 0.224, 0.05]

    Args:
        rise, hold: the shares of the run; the fall is the rest.
        start: the factor at the start, from 0 to 1.
        final: the factor at the end, above 0.

    Raises:
        ValueError: a number is out of its range, or no share is left for the fall.
    """

    rise: float = attrs.field(default=0.1, validator=share)
    hold: float = attrs.field(default=0.4, validator=share)
    start: float = attrs.field(default=0.01, validator=_above_zero)
    final: float = attrs.field(default=0.05, validator=_above_zero)

    def __attrs_post_init__(self) -> None:
        if self.rise + self.hold > 1:
            raise ValueError(
                f"rise and hold are shares of one run: {self.rise} and {self.hold} are more than all of it"
            )

    def __call__(self, progress: Progress) -> float:
        done = progress.fraction
        if done < self.rise:
            return self.start + (1 - self.start) * done / self.rise
        falling = done - self.rise - self.hold
        if falling <= 0:
            return 1.0
        return float(self.final ** min(1.0, falling / (1 - self.rise - self.hold)))
