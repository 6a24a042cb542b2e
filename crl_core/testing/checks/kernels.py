"""Compares a kernel with the dense kernel."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from ...contracts.kernels import Kernel
from ..outcome import Skips, expect
from ..plugin import Case
from .problems import LOSSES, ProblemMaker, agree, problems, solve


def answers_with_reasons(case: Case) -> None:
    """`unsupported` returns a list of reasons as text, and `preference` returns a number."""
    kernel = case.make()
    for _, given in _all():
        problem = given.problem()
        reasons = kernel.unsupported(problem)
        expect(
            isinstance(reasons, list) and all(isinstance(reason, str) and reason for reason in reasons),
            f"unsupported() is a list of reasons, not {reasons!r}",
        )
        level = kernel.preference(problem)
        expect(isinstance(level, (int, float)), f"preference() is a number, not {level!r}")


def agrees_with_the_oracle(case: Case) -> None:
    """In float64, its values and gradients are those of the dense kernel, in every layout that it takes."""
    _try(case.make(), torch.float64, 1e-9)


def agrees_in_float32(case: Case) -> None:
    """In float32, its values and gradients are those of the dense kernel in float64, except for rounding."""
    _try(case.make(), torch.float32, 2e-4)


def scales_with_what_follows(case: Case) -> None:
    """Three times the total has three times the gradient."""
    _try(case.make(), torch.float64, 1e-9, scale=3.0)


def leaves_the_generators_alone(case: Case) -> None:
    """It draws no random numbers."""
    kernel: Kernel = case.make()
    before = torch.get_rng_state()
    for _, given in _all():
        solve(kernel, given, torch.float64)
    expect(torch.equal(torch.get_rng_state(), before), "it uses up torch's random numbers")


def _all() -> Iterator[tuple[nn.Module, ProblemMaker]]:
    for loss in LOSSES:
        for given in problems(loss):
            yield loss, given


def _try(kernel: Kernel, dtype: torch.dtype, off: float, scale: float = 1.0) -> None:
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    tried = [
        agree(kernel, given, type(loss).__name__, dtype, scale, off, device)
        for device in devices
        for loss, given in _all()
    ]
    if not any(tried):
        problems = [given.problem(dtype, device=device) for device in devices for _, given in _all()]
        reasons = {reason for problem in problems for reason in kernel.unsupported(problem)}
        raise Skips(f"it can't run on this machine: {'; '.join(sorted(reasons))}")
