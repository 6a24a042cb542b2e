"""The beginning that several schedules share."""

from __future__ import annotations

from typing import Any

from ...contracts.parts import Progress


def warmup_steps(epochs: float, progress: Progress) -> int:
    """`epochs` in steps; a tenth of the run where it is not longer than that, so that the full rate is always reached.

    0 where nobody knows how long the run is.
    """
    steps = round(epochs * progress.steps / max(1, progress.epochs))
    return steps if steps < progress.steps else progress.steps // 10


def rise(progress: Progress, steps: int) -> float | None:
    """The factor in a straight rise over `steps` steps, whose last has 1; None after it."""
    return (progress.step + 1) / steps if progress.step < steps else None


def after(progress: Progress, steps: int) -> float:
    """From 0 to 1: how much of what comes after the first `steps` steps is done."""
    if not progress.steps:
        return 0.0
    return min(1.0, (progress.step - steps) / max(1, progress.steps - steps))


def at_least_zero(instance: Any, field: Any, value: float) -> None:
    if not 0 <= value < float("inf"):
        raise ValueError(f"{field.name} is a finite number from 0, not {value!r}")


def share(instance: Any, field: Any, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{field.name} is from 0 to 1, not {value!r}")
