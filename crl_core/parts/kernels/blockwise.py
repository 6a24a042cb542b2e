from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ...listing import Listed
from ...pairs import Pairs
from ...protocols import Outcome, Problem
from .by_strips import by_strips
from .by_tiles import by_tiles
from .factors import factors, no_product, state_of
from .formula import LossOfScores, Unavailable, asked_by
from .task import Swept, Task


class Blockwise:
    """Strips and tiles of scores, for losses made of reductions; who is positive is a list, never a mask.

    Memory grows with N + M instead of N·M. In one direction a strip of queries meets all keys, and its
    gradient is made in the same sweep. Where rows and columns both are queries, a tile serves both: in a
    symmetric contrast, and above the diagonal alone where the queries are the keys.
    """

    def unsupported(self, problem: Problem) -> list[str]:
        reasons = [*no_product(problem), *state_of(problem)]
        return reasons or _beyond(problem) or _unlisted(problem.pairs)

    def preference(self, problem: Problem) -> float:
        return 2.0

    def __call__(self, problem: Problem) -> Outcome:
        query, keys = factors(problem)
        itself = bool(keys) and keys[0] is query
        return Outcome(*_Sweep.apply(problem.pairs, problem.loss, problem.symmetric, itself, query, *keys[itself:]))


def _beyond(problem: Problem) -> list[str]:
    """The first reduction that the loss asks for and this body doesn't have."""
    try:
        asked_by(problem.loss, problem.pairs.query.z)
    except Unavailable as reduction:
        return [f"the loss asks for {reduction}"]
    return []


def _unlisted(pairs: Pairs) -> list[str]:
    """The relations whose pairs are no short list."""
    reasons = []
    for name, lists in zip(("positive", "negative"), zip(*pairs.listed, strict=True), strict=True):
        if any(found is None or (name == "positive" and found.but) for found in lists):
            reasons.append(f"{getattr(pairs, name)} has too many pairs for a list")
    return reasons


class _Sweep(torch.autograd.Function):
    """The sum of the loss over the queries, with its gradient made on the way; `itself`: the first keys are these."""

    @staticmethod
    def forward(
        ctx: Any, pairs: Pairs, loss: LossOfScores, symmetric: bool, itself: bool, *tables: Tensor
    ) -> tuple[Tensor, ...]:
        wide = torch.promote_types(tables[0].dtype, torch.float32)
        inputs, wanted = [table.to(wide) for table in tables], list(ctx.needs_input_grad[4:])
        if itself:
            inputs, wanted = [inputs[0], *inputs], [wanted[0], *wanted]
        lists = cast("list[tuple[Listed, Listed]]", pairs.listed)
        task = Task(loss, inputs[0], inputs[1:], lists, asked_by(loss, inputs[0]))
        swept = _swept(task, wanted, symmetric)
        gradients = (swept.d_query, *swept.d_keys[itself:])
        ctx.save_for_backward(*(None if d is None else d.to(x.dtype) for d, x in zip(gradients, tables, strict=True)))
        ctx.mark_non_differentiable(swept.values, swept.counted, swept.terms)
        return swept.values.sum(), swept.values, swept.counted, swept.terms

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, total: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        return (None,) * 4 + tuple(None if d is None else d * total.to(d.dtype) for d in ctx.saved_tensors)


def _swept(task: Task, wanted: list[bool], symmetric: bool) -> Swept:
    one_sum = [(a.name, a.argument) for a in task.asked] == [("logsumexp", 1.0)]
    if one_sum and len(task.keys) == 1 and task.lists[0][1].but and (symmetric or task.keys[0] is task.query):
        return by_tiles(task, wanted, same=not symmetric)
    if not symmetric:
        return by_strips(task, wanted)
    there, back = by_strips(task, wanted), by_strips(task.reversed(), wanted[::-1])
    return there.joined(back)
