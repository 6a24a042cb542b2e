"""The right body for the tensors at hand."""

from __future__ import annotations

import logging
from functools import cache

from ..contracts.kernels import Kernel, Problem
from .making import make
from .plugins import PluginError, known, load

log = logging.getLogger("crl")


@cache
def _bodies() -> tuple[dict[str, Kernel], dict[str, str]]:
    """Every kernel by address, and why others could not be loaded."""
    bodies: dict[str, Kernel] = {}
    broken: dict[str, str] = {}
    for part in known("kernel"):
        try:
            body = load(part).part
        except PluginError as error:
            broken[part.address] = str(error)
            continue
        try:
            bodies[part.address] = body()
        except Exception as error:
            broken[part.address] = f"{part.target} could not be made: {type(error).__name__}: {error}"
    return bodies, broken


def choose_kernel(name: str, problem: Problem) -> Kernel:
    """The kernel called `name`, or with "auto" the one that is best among those that can.

    An explicit choice never falls back, and an error while running is never retried elsewhere.

    Raises:
        PluginError: the kernel asked for can't run on these tensors, for these reasons.
    """
    if name != "auto":
        return _explicit(name, problem)
    best, passed_over = rank(problem)
    for address, reasons in passed_over.items():
        _log_once(best, address, "; ".join(reasons))
    return _bodies()[0][best]


def rank(problem: Problem) -> tuple[str, dict[str, list[str]]]:
    """The address of the best kernel, and why those that would be better are passed over."""
    bodies, broken = _bodies()
    better: dict[str, list[str]] = {}
    # From the best down, so that the others are never asked, which costs them some time.
    for _, address in sorted(((body.preference(problem), name) for name, body in bodies.items()), reverse=True):
        reasons = _reasons(bodies[address], problem)
        if not reasons:
            return address, better | {name: [why] for name, why in broken.items()}
        better[address] = reasons
    raise PluginError("no kernel can run here")


def _reasons(body: Kernel, problem: Problem) -> list[str]:
    # A stranger's kernel that can't even answer must not stop those that can.
    try:
        return body.unsupported(problem)
    except Exception as error:
        return [f"asked whether it can, it raised {type(error).__name__}: {error}"]


def _explicit(name: str, problem: Problem) -> Kernel:
    kernel: Kernel = make("kernel", name)
    if reasons := _reasons(kernel, problem):
        raise PluginError(
            f'the kernel {name!r} can\'t run here: {"; ".join(reasons)}. kernel="auto" takes the best that can'
        )
    return kernel


@cache
def _log_once(best: str, address: str, reasons: str) -> None:
    log.info("contrast: using %s; %s passed over (%s)", best, address, reasons)
