"""Chooses the best kernel that can run on the given tensors."""

from __future__ import annotations

import logging
from functools import cache

from ..contracts.kernels import Kernel, Problem
from .making import make
from .plugins import PluginError, known, load

log = logging.getLogger("crl")


@cache
def _all_kernels() -> tuple[dict[str, Kernel], dict[str, str]]:
    """All kernels by address, and the errors of those that couldn't be loaded."""
    kernels: dict[str, Kernel] = {}
    broken: dict[str, str] = {}
    for part in known("kernel"):
        try:
            cls = load(part).part
        except PluginError as error:
            broken[part.address] = str(error)
            continue
        try:
            kernels[part.address] = cls()
        except Exception as error:
            broken[part.address] = f"{part.target} could not be made: {type(error).__name__}: {error}"
    return kernels, broken


def choose_kernel(name: str, problem: Problem) -> Kernel:
    """The kernel called `name`; with "auto", the kernel with the highest preference of those that can run.

    If `name` can't run, no other kernel takes its place. If a kernel fails while it runs, no other is tried.

    Raises:
        PluginError: the kernel can't run on these tensors; the message has its reasons.
    """
    if name != "auto":
        return _explicit(name, problem)
    best, passed_over = rank(problem)
    for address, reasons in passed_over.items():
        _log_once(best, address, "; ".join(reasons))
    return _all_kernels()[0][best]


def rank(problem: Problem) -> tuple[str, dict[str, list[str]]]:
    """The address of the best kernel that can run, and why those with a higher preference can't."""
    kernels, broken = _all_kernels()
    better: dict[str, list[str]] = {}
    # From the highest preference down, so that `unsupported` of the others, which takes time, isn't called.
    for _, address in sorted(((kernel.preference(problem), name) for name, kernel in kernels.items()), reverse=True):
        reasons = _reasons(kernels[address], problem)
        if not reasons:
            return address, better | {name: [why] for name, why in broken.items()}
        better[address] = reasons
    raise PluginError("no kernel can run here")


def _reasons(kernel: Kernel, problem: Problem) -> list[str]:
    # If a plugin's kernel fails here, the others still run.
    try:
        return kernel.unsupported(problem)
    except Exception as error:
        return [f"`unsupported` raised {type(error).__name__}: {error}"]


def _explicit(name: str, problem: Problem) -> Kernel:
    kernel: Kernel = make("kernel", name)
    if reasons := _reasons(kernel, problem):
        raise PluginError(
            f'the kernel {name!r} can\'t run here: {"; ".join(reasons)}. kernel="auto" takes the best one that can'
        )
    return kernel


@cache
def _log_once(best: str, address: str, reasons: str) -> None:
    log.info("contrast: using %s; %s passed over (%s)", best, address, reasons)
