"""All scores at once, kept for their gradient: for batches so small that the number of steps is what they cost."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ...protocols import Outcome
from .dense import joined
from .formula import Few, both_sides, value_of
from .reductions import LogSumExp, OfColumnsToo, Pointwise, Softplus, reduction_of
from .task import SAFE, Task, highest

MOST = 1 << 20  # scores


def in_one_tile(task: Task, symmetric: bool) -> Outcome:
    """The loss as a formula that autograd follows, of one reduction whose gradient is written out.

    For a loss of one reduction over one block of keys (`task.one`).
    """
    most = highest(task.query.detach(), [task.keys[0].detach()])
    # Exponentials that serve rows and columns: of another direction, or where the tile is its own mirror image.
    columns_too = task.one_sum and most <= SAFE and (symmetric or task.itself)
    if symmetric and not columns_too:
        return joined([_outcome(task, most, False, False), _outcome(task.reversed(), most, False, False)])
    return _outcome(task, most, columns_too, symmetric)


def _outcome(task: Task, most: float, columns_too: bool, symmetric: bool) -> Outcome:
    ((positive, _),) = task.lists
    values, reduced = _Tile.apply(task, most, columns_too, symmetric, task.query, *task.keys[task.itself :])
    if symmetric:
        few = both_sides(positive, values, *map(len, (task.query, task.keys[0])))
    else:
        column = positive.column if task.itself else None
        few = Few(positive.row, values, len(task.query), harmless=True, column=column, weight=positive.weight)
    value, terms, counted = value_of(task.loss, few, None, [reduced])
    return Outcome(value.sum(), value.detach(), counted, terms.detach())


class _Tile(torch.autograd.Function):
    """The scores of the positives `[P]`, and the reduction over the negatives."""

    @staticmethod
    def forward(
        ctx: Any, task: Task, most: float, columns_too: bool, symmetric: bool, query: Tensor, *key: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.made_of = task, most, columns_too, symmetric
        positive, ctx.reduction = _made(*ctx.made_of)
        # As a tensor of its own, so that what is kept doesn't keep the graph that keeps it.
        return positive, ctx.reduction.value.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_positive: Tensor, of_reduced: Tensor) -> tuple[Tensor | None, ...]:
        # Its scores are overwritten; should there be another backward, they are made again.
        reduction, task = ctx.reduction or _made(*ctx.made_of)[1], ctx.made_of[0]
        ctx.reduction = None
        (weights,), mirrored = reduction.weights(of_reduced), task.itself and isinstance(reduction, OfColumnsToo)
        row, column = task.lists[0][0][:2]
        weights.index_put_((row, column), of_positive, accumulate=True)
        if mirrored:
            weights.index_put_((column, row), of_positive, accumulate=True)
        query, key, wanted = task.query, task.keys[0], ctx.needs_input_grad[4:]
        d_query = weights @ key if wanted[0] else None
        if task.itself:
            return None, None, None, None, d_query if d_query is None or mirrored else d_query.addmm_(weights.T, query)
        return None, None, None, None, d_query, weights.T @ query if wanted[1] else None


def _made(
    task: Task, most: float, columns_too: bool, symmetric: bool
) -> tuple[Tensor, LogSumExp | OfColumnsToo | Softplus | Pointwise]:
    tile = task.query.detach() @ task.keys[0].detach().T
    positive, negative = task.lists[0]
    values = tile[positive.row, positive.column]
    out = negative.row, negative.column
    tile[out] = -torch.inf
    if columns_too:
        return values, OfColumnsToo(tile, alike=not symmetric)
    return values, reduction_of(task.asked[0], [tile], [out], most)
