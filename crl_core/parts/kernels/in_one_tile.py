"""All scores at once, kept for their gradient: for batches so small that the number of steps is what they cost."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ...protocols import Outcome
from .dense import joined
from .formula import both_sides, value_of
from .strip import Listed, Piece, Strip
from .task import SAFE, Task, highest

MOST = 1 << 20  # scores


def in_one_tile(task: Task, symmetric: bool) -> Outcome:
    """The loss as a formula that autograd follows, of reductions whose gradient is written out."""
    most = highest(task.query.detach(), [task.keys[block].detach() for block in task.tiled])
    both = symmetric and task.one_sum and most <= SAFE
    if symmetric and not both:
        return joined([_outcome(task, most, False), _outcome(task.reversed(), most, False)])
    return _outcome(task, most, both)


def _outcome(task: Task, most: float, both: bool) -> Outcome:
    tables = [task.query, *task.keys[task.itself :]]
    made: list[Strip] = []
    of_positive, of_negative, *reduced = _Scores.apply(task, most, both, made, *tables)
    (strip,) = made
    positive, negative = strip.positive(of_positive), strip.negative(of_negative)
    if both:
        positive = both_sides(task.lists[0][0], of_positive, len(task.query), len(task.keys[0]))
    values, terms, counted = value_of(task.loss, positive, negative, reduced)
    return Outcome(values.sum(), values.detach(), counted, terms.detach())


class _Scores(torch.autograd.Function):
    """The scores of listed positives and negatives, and every reduction over the others."""

    @staticmethod
    def forward(
        ctx: Any, task: Task, most: float, both: bool, made: list[Strip], *tables: Tensor
    ) -> tuple[Tensor, ...]:
        strip = Strip(task, task.query, _listed(task), most, both=both)
        made.append(strip)
        ctx.strip, ctx.task, ctx.most, ctx.both = strip, task, most, both
        # As tensors of their own, so that what is kept doesn't keep the graph that keeps it.
        return tuple(x.detach() for x in (*strip.values, *(reduction.value for reduction in strip.reductions)))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_positive: Tensor, of_negative: Tensor, *of_reduced: Tensor) -> tuple[Tensor | None, ...]:
        # Its scores are overwritten; should there be another backward, they are made again.
        strip = ctx.strip or Strip(ctx.task, ctx.task.query, _listed(ctx.task), ctx.most, both=ctx.both)
        ctx.strip, wanted = None, ctx.needs_input_grad[4:]
        d_query, d_keys = ctx.task.gradients(([wanted[0]] * ctx.task.itself) + [*wanted])
        strip.push((of_positive, of_negative), of_reduced, d_query, d_keys)
        return (None, None, None, None, d_query, *d_keys[ctx.task.itself :])


def _listed(task: Task) -> Listed:
    found = Listed([], [], [])
    for block, (positive, negative) in enumerate(task.lists):
        found.positive.append(Piece(block, positive.row, positive.column, positive.weight))
        if not negative.but:
            found.negative.append(Piece(block, negative.row, negative.column))
        elif block in task.tiled:
            found.out.append(Piece(block, negative.row, negative.column))
    return found
