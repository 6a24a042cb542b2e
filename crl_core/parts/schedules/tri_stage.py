from __future__ import annotations

import attrs

from ...protocols import Progress
from .warmup import share


def _above_zero(instance: object, field: attrs.Attribute[float], value: float) -> None:
    if not 0 < value <= 1:
        raise ValueError(f"{field.name} is above 0 and at most 1, not {value!r}")


@attrs.frozen
class TriStage:
    """A straight rise, a plateau, and an exponential fall (SpecAugment, Park et al. 2019; wav2vec 2.0 fine-tuning).

    Args:
        rise, hold: their shares of the run; the fall is the rest.
        start: what it rises from, as a share of the highest.
        final: what it falls to at the end, as a share of the highest.
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
