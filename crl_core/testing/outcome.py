"""The outcome of a check, and helpers that compare."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ..registry import Known

State = Literal["passed", "failed", "skipped", "expected"]


class Outcome(NamedTuple):
    """The outcome of one check of one part; `error` is the exception that the part itself raised, or None."""

    part: Known
    check: str
    state: State
    text: str = ""
    error: Exception | None = None


class Fails(AssertionError):
    """A part breaks a promise; the message has the actual and the expected value."""


class Skips(Exception):
    """A check can't be done, for this reason. It isn't counted as a check that ran."""


def expect(holds: bool, text: str) -> None:
    """Raises Fails with this text, unless it holds."""
    if not holds:
        raise Fails(text)


def same_numbers(found: Tensor, wanted: Tensor, what: str, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    """Raises Fails if two tensors differ by more than rounding."""
    expect(found.shape == wanted.shape, f"{what}: shape {list(found.shape)}, expected {list(wanted.shape)}")
    found, wanted = found.detach().cpu().double(), wanted.detach().cpu().double()
    if not torch.allclose(found, wanted, rtol, atol, equal_nan=True):
        difference = (found - wanted).abs()
        place = [int(i) for i in torch.unravel_index(difference.nan_to_num(torch.inf).argmax(), found.shape)]
        raise Fails(f"{what}: {found[tuple(place)].item():.6g} at {place}, expected {wanted[tuple(place)].item():.6g}")


def all_same(found: Iterable[Tensor], wanted: Iterable[Tensor], what: str, **tolerance: float) -> None:
    """`same_numbers` for two lists of tensors."""
    one, other = list(found), list(wanted)
    expect(len(one) == len(other), f"{what}: {len(one)} tensors, expected {len(other)}")
    for left, right in zip(one, other, strict=True):
        same_numbers(left, right, what, **tolerance)


def finite(tensors: Iterable[Tensor], what: str) -> None:
    """Raises Fails if any number is NaN or infinite."""
    for tensor in tensors:
        wrong = int((~tensor.isfinite()).sum())
        expect(not wrong, f"{what}: {wrong} of {tensor.numel()} numbers are NaN or infinite")
