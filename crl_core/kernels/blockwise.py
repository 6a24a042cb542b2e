from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from ..contracts.kernels import Outcome, Problem
from ..contracts.parts import FactorisedScore, sees_all_queries
from ..data.listing import PairList
from ..data.pairs import Pairs
from .across import across
from .by_strips import by_strips
from .by_tiles import by_tiles
from .factors import factors, no_product
from .formula import ONE_SUM, asked_by, needs_all_scores
from .in_one_tile import MOST, in_one_tile
from .task import Swept, Task, once_only


class Blockwise:
    """Strips and tiles of scores, for losses made of reductions; the positives are a list, never a mask.

    Memory grows with N + M instead of N·M. In one direction, some queries (a strip) are scored with all keys at a
    time, and their gradient is computed in the same sweep. If the keys are also queries, as in a symmetric contrast,
    a tile of scores serves its rows and its columns; if the keys are the queries, only tiles above the diagonal are
    computed. Up to a million scores are one tile, which is kept for its gradient.

    >>> import torch
    >>> import crl_core as crl
    >>> rows = crl.Embeddings(torch.randn(6, 4), {"label": torch.tensor([0, 0, 1, 1, 2, 3])})
    >>> pairs = crl.Pairs(rows, (rows,), crl.same("label"), ~crl.same("label"))
    >>> blockwise = crl.make("kernel", "blockwise")
    >>> blockwise.unsupported(crl.Problem(pairs, crl.Dot(), crl.InfoNCE()))
    []
    >>> blockwise.unsupported(crl.Problem(pairs, crl.L1(), crl.InfoNCE()))
    ['the score L1 is no matrix product (it has no `factors`)']
    """

    def unsupported(self, problem: Problem) -> list[str]:
        return (
            list(no_product(problem))
            or needs_all_scores(problem)
            or _unlisted(problem.pairs)
            or _too_many_together(problem)
        )

    def preference(self, problem: Problem) -> float:
        return 2.0

    def __call__(self, problem: Problem) -> Outcome:
        query, keys = factors(problem)
        itself = keys[0] is query
        tables = [query, *keys[itself:]]
        if math.prod(problem.pairs.shape) <= MOST:
            task = _task(problem, itself, tables)
            if task.one:
                return in_one_tile(task, problem.symmetric)
        return Outcome(*_Sweep.apply(problem, None, itself, *tables))

    def spans(self, problem: Problem) -> bool:
        return problem.symmetric and _one_sum(problem)

    def across(self, problem: Problem, own: slice) -> Outcome:
        query, keys = factors(problem)
        return Outcome(*_Sweep.apply(problem, own, False, query, *keys))


def _task(problem: Problem, itself: bool, tables: Sequence[Tensor]) -> Task:
    wide = torch.promote_types(tables[0].dtype, torch.float32)
    tables = [table.to(wide) for table in tables]
    lists = cast("list[tuple[PairList, PairList]]", problem.pairs.listed)
    keys = tables if itself else tables[1:]
    alone, mirrored = problem.pairs.itself, itself and problem.pairs.mirrored
    return Task(problem.loss, tables[0], keys, lists, asked_by(problem.loss, tables[0]), alone, mirrored)


def _one_sum(problem: Problem) -> bool:
    """Whether the loss has one log-sum-exp, over one block of keys without the pairs of a list."""
    all_but = [negative is not None and negative.complement for _, negative in problem.pairs.listed]
    return all_but == [True] and asked_by(problem.loss, problem.pairs.query.z) == ONE_SUM


def _unlisted(pairs: Pairs) -> list[str]:
    """Why the pairs of a relation are not a short list."""
    reasons = []
    if any("valid" in table.meta for table in (pairs.query, *pairs.keys)):
        reasons.append("some rows are not candidates (`valid`)")
    for name, lists in zip(("positive", "negative"), zip(*pairs.listed, strict=True), strict=True):
        if any(found is None or (name == "positive" and found.complement) for found in lists):
            reasons.append(f"{getattr(pairs, name)} has too many pairs for a list")
    return reasons


def _too_many_together(problem: Problem) -> list[str]:
    """Why a loss that needs all queries at once can't run: it would get them strip by strip."""
    if not sees_all_queries(problem.loss) or math.prod(problem.pairs.shape) <= MOST:
        return []
    if problem.pairs.mirrored and _one_sum(problem) and _one_table(problem):
        return []
    return ["the loss needs all queries at once, and they are more than fit in one tile"]


def _one_table(problem: Problem) -> bool:
    """Whether the factors of the queries are also the factors of the keys."""
    nothing = problem.pairs.query.z[:0]
    query, key = cast(FactorisedScore, problem.score).factors(nothing, nothing)
    return query is key


class _Sweep(torch.autograd.Function):
    """The sum of the loss over the queries; its gradient is computed at the same time."""

    @staticmethod
    def forward(ctx: Any, problem: Problem, own: slice | None, itself: bool, *tables: Tensor) -> tuple[Tensor, ...]:
        ctx.of = problem, own, itself
        ctx.save_for_backward(*tables)
        swept, ctx.gradients = _with_gradients(ctx.of, tables, ctx.needs_input_grad[3:])
        ctx.mark_non_differentiable(swept.values, swept.counted, swept.terms)
        return swept.values.sum(), swept.values, swept.counted, swept.terms

    @staticmethod
    def backward(ctx: Any, total: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        once_only()
        # The gradients are scaled in place, which saves a copy; a second backward computes them again.
        gradients = ctx.gradients or _with_gradients(ctx.of, ctx.saved_tensors, ctx.needs_input_grad[3:])[1]
        ctx.gradients = None
        return (None,) * 3 + tuple(None if d is None else d.mul_(total.to(d.dtype)) for d in gradients)


def _with_gradients(
    of: tuple[Problem, slice | None, bool], tables: Sequence[Tensor], wanted: Sequence[bool]
) -> tuple[Swept, list[Tensor | None]]:
    """The result of the sweep, and the gradient of each table in the type of the table."""
    problem, own, itself = of
    task = _task(problem, itself, tables)
    wanted = [*wanted[:itself], *wanted]
    swept = _swept(task, wanted, problem.symmetric) if own is None else across(task, wanted, own)
    gradients = (swept.d_query, *swept.d_keys[itself:])
    return swept, [None if d is None else d.to(x.dtype) for d, x in zip(gradients, tables, strict=True)]


def _swept(task: Task, wanted: Sequence[bool], symmetric: bool) -> Swept:
    if task.one_sum and (symmetric or task.mirrored):
        return by_tiles(task, wanted, same=not symmetric)
    if not symmetric:
        return by_strips(task, wanted)
    there, back = by_strips(task, wanted), by_strips(task.reversed(), wanted[::-1])
    return there.joined(back)
