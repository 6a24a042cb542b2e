"""All scores in one tile, kept for the gradient: for small batches, whose cost is the number of operations."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..contracts.kernels import Outcome
from .dense import joined_outcomes
from .formula import CandidateList, both_sides, value_of
from .reductions import BothWays, Mirrored, Reduction, reductions_of, score_slopes
from .task import SAFE, Task, once_only

MOST = 1 << 20  # scores


def in_one_tile(task: Task, symmetric: bool) -> Outcome:
    """The loss as a formula that autograd follows, of reductions whose gradient is written out.

    For a loss of such reductions over one block of keys (`task.one`).
    """
    if symmetric and not task.one_sum:
        return joined_outcomes([in_one_tile(task, False), in_one_tile(task.reversed(), False)])
    positive, count = task.lists[0][0], len(task.query)
    values, *reduced = _Tile.apply(task, symmetric, task.query, *task.keys[task.itself :])
    if symmetric:
        candidates = both_sides(positive, values, count, len(task.keys[0]))
    else:
        column = positive.column if task.alone else None
        candidates = CandidateList(positive.row, values, count, harmless=True, column=column, weight=positive.weight)
    value, terms, counted = value_of(task.loss, candidates, None, reduced)
    return Outcome(value.sum(), value.detach(), counted, terms.detach())


class _Tile(torch.autograd.Function):
    """The scores of the positives `[P]`, and the reductions over the negatives."""

    @staticmethod
    def forward(ctx: Any, task: Task, symmetric: bool, *tables: Tensor) -> tuple[Tensor, ...]:
        ctx.of = task, symmetric
        ctx.save_for_backward(*tables)
        positive, ctx.reductions = _made(task, symmetric)
        # As tensors of their own, so that what is kept doesn't keep the graph that keeps it.
        return positive, *(reduction.value.detach() for reduction in ctx.reductions)

    @staticmethod
    def backward(ctx: Any, of_positive: Tensor, *of_reduced: Tensor) -> tuple[Tensor | None, ...]:
        once_only()
        task, tables, wanted = ctx.of[0], ctx.saved_tensors, ctx.needs_input_grad[2:]
        # The scores are overwritten; a second backward computes them again.
        reductions, ctx.reductions = ctx.reductions or _made(*ctx.of)[1], None
        (weights,), (row, column) = score_slopes(reductions, of_reduced), task.lists[0][0][:2]
        weights.index_put_((row, column), of_positive, accumulate=True)
        if isinstance(reductions[0], Mirrored):
            weights.index_put_((column, row), of_positive, accumulate=True)
            return None, None, _product(weights, tables[0])
        d_query = _product(weights, tables[-1]) if wanted[0] else None
        if task.itself:
            return None, None, d_query if d_query is None else d_query.addmm_(weights.T, tables[0])
        return None, None, d_query, _product(weights.T, tables[0]) if wanted[1] else None


def _made(task: Task, symmetric: bool) -> tuple[Tensor, list[Reduction]]:
    """The scores of the positives, and the reductions, from the tile."""
    tile = _product(task.query, task.keys[0].T)
    low, high = tile.aminmax() if tile.numel() else (tile.new_zeros(()),) * 2
    highest = max(float(high), -float(low))
    positive, negative = task.lists[0]
    values = tile[positive.row, positive.column]
    out = negative.row, negative.column
    tile[out] = -torch.inf
    if symmetric:
        return values, [BothWays(tile, highest)]
    if task.mirrored and task.one_sum and highest <= SAFE:
        return values, [Mirrored(tile)]
    return values, reductions_of(task.asked, [tile], [out], highest)


def _product(one: Tensor, other: Tensor) -> Tensor:
    # Into an existing tensor, because otherwise autocast would compute it in half precision.
    return torch.mm(one, other, out=one.new_empty(len(one), other.shape[1]))
