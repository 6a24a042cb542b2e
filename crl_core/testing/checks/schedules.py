"""Checks of schedules."""

from __future__ import annotations

import math

from ...contracts.parts import Progress
from ..outcome import expect
from ..plugin import Case

_RUNS = ((1, 1), (7, 1), (60, 3), (1000, 10))  # steps and epochs
_MOMENTS = [Progress(step, 40, step // 10, 4) for step in (0, 1, 4, 5, 9, 10, 20, 30, 39, 40)]


def gives_numbers(case: Case) -> None:
    """In every step of a run, short or long, it is a finite number of 0 or more; not 0 throughout."""
    schedule = case.make()
    for steps, epochs in _RUNS:
        factors = [schedule(Progress(step, steps, step * epochs // steps, epochs)) for step in range(steps)]
        for step, found in enumerate(factors):
            number = isinstance(found, float) and math.isfinite(found)
            expect(number and found >= 0, f"after {step} of {steps} steps it is {found!r}")
        expect(any(factors), f"in a run of {steps} steps it is 0 throughout: nothing would be trained")


def depends_on_the_moment_alone(case: Case) -> None:
    """It gives the same numbers in any order of calls, so that a resumed run is the same."""
    schedule = case.make()
    first = [schedule(progress) for progress in _MOMENTS]
    again = [schedule(progress) for progress in reversed(_MOMENTS)][::-1]
    expect(first == again, f"it gave {first}, and asked in another order {again}")


def is_a_number_where_nobody_knows_the_end(case: Case) -> None:
    """It also returns a number if the length of the training is unknown, which is given as 0 steps and epochs."""
    found = case.make()(Progress(7, 0, 0, 0))
    expect(isinstance(found, float) and math.isfinite(found), f"it is {found!r}")


def short_runs(case: Case) -> None:
    """A run of one step gets a number."""
    found = case.make()(Progress(0, 1, 0, 1))
    expect(isinstance(found, float) and math.isfinite(found), f"it is {found!r}")
