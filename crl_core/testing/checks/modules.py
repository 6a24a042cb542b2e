"""Checks of encoders and heads, which are modules from rows to rows."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...data.view import Embeddings
from ..outcome import Skips, all_same, expect, finite
from ..plugin import ROWS, Case
from ..subject import built, floating, inputs_of, outputs
from ..trees import cut, tensors_in


def returns_rows(case: Case) -> None:
    """It returns floating tensors `[N, d]`, `[N, L, d]` or several by name, finite; or `Embeddings`."""
    part, data = built(case), _rows(case, range(ROWS))
    found = part(data)
    finite(floating(list(tensors_in(found))), "what it returns")
    if isinstance(found, Embeddings):
        found.rows()  # whether the columns fit
        return
    for tensor in tensors_in(found):
        expect(tensor.is_floating_point(), f"it returns numbers of type {tensor.dtype}")
        expect(tensor.dim() >= 2, f"it returns {list(tensor.shape)}, expected [N, d] or [N, L, d]")
        expect(len(tensor) == ROWS, f"it returns {list(tensor.shape)} for {ROWS} rows")


def trains(case: Case) -> None:
    """Every weight that trains gets a gradient."""
    part, inputs = copy.deepcopy(built(case)).train(), inputs_of(case)
    weights = {name: weight for name, weight in part.named_parameters() if weight.requires_grad}
    if not weights:
        raise Skips("it has no weights to train")
    reached: set[str] = set()
    for _ in range(3):  # a weight that begins at zero may hide others at first
        found = floating(outputs(case, part, inputs))
        objective = sum(((x - torch.randn_like(x)) ** 2).mean() for x in found)
        gradients = torch.autograd.grad(objective, list(weights.values()), allow_unused=True)  # type: ignore[arg-type]
        for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
            if gradient is not None and bool(gradient.any()):
                reached.add(name)
                weight.data -= 0.1 * gradient / gradient.norm()
    dead = [name for name in weights if name not in reached]
    expect(not dead, f"no gradient reaches {', '.join(dead)}: never used, or multiplied by zero?")


def rows_alone_in_evaluation(case: Case) -> None:
    """In evaluation mode, its output for a row depends on no other row, and not on the order."""
    part = built(case)
    whole = _by_row(part(_rows(case, range(ROWS))))
    for rows in ([5, 2, 7, 0], [3, 6]):
        found = _by_row(part(_rows(case, rows)))
        all_same(found, [x[rows] for x in whole], f"rows {rows} of {ROWS} alone", rtol=1e-3, atol=1e-4)


def one_row(case: Case) -> None:
    """A single row is enough in evaluation mode."""
    part = built(case)
    whole = _by_row(part(_rows(case, range(ROWS))))
    all_same(_by_row(part(_rows(case, [4]))), [x[4:5] for x in whole], "one row alone", rtol=1e-3, atol=1e-4)


def no_rows(case: Case) -> None:
    """In evaluation mode, it returns no rows for no rows."""
    part, data = built(case), _rows(case, range(ROWS))
    found = part(cut(data, [], ROWS))
    for tensor in [found.z] if isinstance(found, Embeddings) else floating(list(tensors_in(found))):
        expect(len(tensor) == 0, f"it returns {list(tensor.shape)} for no rows")


def works_in_bfloat16(case: Case) -> None:
    """Under autocast to bfloat16, it returns the same as in float32, except for rounding."""
    part, inputs = built(case), inputs_of(case)
    plain = floating(outputs(case, part, inputs))
    with torch.autocast("cpu", torch.bfloat16):
        found = floating(outputs(case, part, inputs))
    finite(found, "in bfloat16")
    for one, other in zip(found, plain, strict=True):
        off = float((one.float() - other).norm() / other.norm().clamp(min=1e-6))
        expect(off < 0.1, f"in bfloat16 it is off by {off:.0%}")


def _rows(case: Case, rows: Sequence[int]) -> Any:
    """What it takes, with these rows."""
    if case.part.kind == "encoder":
        return case.clean(rows).data
    (data,) = inputs_of(case)
    return cut(data, list(rows), ROWS)


def _by_row(found: Any) -> list[Tensor]:
    """The tensors that have one entry for each row."""
    if isinstance(found, Embeddings):
        raise Skips("it returns other rows than it gets, so they can't be compared")
    return floating(list(tensors_in(found)))
