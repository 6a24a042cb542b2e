"""All scores at once, kept for their gradient: for batches so small that the number of steps is what they cost."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ...protocols import Outcome
from .dense import joined
from .formula import Few, both_sides, value_of
from .reductions import BothWays, Mirrored, reduction_of
from .task import SAFE, Task

MOST = 1 << 20  # scores


def in_one_tile(task: Task, symmetric: bool) -> Outcome:
    """The loss as a formula that autograd follows, of one reduction whose gradient is written out.

    For a loss of one reduction over one block of keys (`task.one`).
    """
    if symmetric and not task.one_sum:
        return joined([in_one_tile(task, False), in_one_tile(task.reversed(), False)])
    positive, count = task.lists[0][0], len(task.query)
    values, reduced = _Tile.apply(task, symmetric, task.query, *task.keys[task.itself :])
    if symmetric:
        few = both_sides(positive, values, count, len(task.keys[0]))
    else:
        column = positive.column if task.itself else None
        few = Few(positive.row, values, count, harmless=True, column=column, weight=positive.weight)
    value, terms, counted = value_of(task.loss, few, None, [reduced])
    return Outcome(value.sum(), value.detach(), counted, terms.detach())


class _Tile(torch.autograd.Function):
    """The scores of the positives `[P]`, and the reduction over the negatives."""

    @staticmethod
    def forward(ctx: Any, task: Task, symmetric: bool, query: Tensor, *key: Tensor) -> tuple[Tensor, Tensor]:
        ctx.made_of = task, symmetric
        positive, ctx.reduction = _made(task, symmetric)
        # As a tensor of its own, so that what is kept doesn't keep the graph that keeps it.
        return positive, ctx.reduction.value.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_positive: Tensor, of_reduced: Tensor) -> tuple[Tensor | None, ...]:
        task = ctx.made_of[0]
        # Its scores are overwritten; should there be another backward, they are made again.
        reduction, ctx.reduction = ctx.reduction or _made(*ctx.made_of)[1], None
        (weights,), (row, column) = reduction.weights(of_reduced), task.lists[0][0][:2]
        weights.index_put_((row, column), of_positive, accumulate=True)
        query, key, wanted = task.query, task.keys[0], ctx.needs_input_grad[2:]
        if isinstance(reduction, Mirrored):
            weights.index_put_((column, row), of_positive, accumulate=True)
            return None, None, weights @ key
        d_query = weights @ key if wanted[0] else None
        if task.itself:
            return None, None, d_query if d_query is None else d_query.addmm_(weights.T, query)
        return None, None, d_query, weights.T @ query if wanted[1] else None


def _made(task: Task, symmetric: bool) -> tuple[Tensor, Any]:
    """The positives' scores, and the reduction, over the tile."""
    tile = task.query @ task.keys[0].T
    low, high = tile.aminmax() if tile.numel() else (tile.new_zeros(()),) * 2
    highest = max(float(high), -float(low))
    positive, negative = task.lists[0]
    values = tile[positive.row, positive.column]
    out = negative.row, negative.column
    tile[out] = -torch.inf
    if symmetric:
        return values, BothWays(tile, highest)
    if task.itself and task.one_sum and highest <= SAFE:
        return values, Mirrored(tile)
    return values, reduction_of(task.asked[0], [tile], [out], highest)
