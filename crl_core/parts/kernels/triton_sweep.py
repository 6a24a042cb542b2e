"""The Triton kernels around autograd: reductions forward, the formula's slopes, gradients backward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ...pairs import Pairs
from ...protocols import Embeddings
from .formula import LossOfScores
from .triton_plan import Plan, evaluate, plan_of
from .triton_relations import Ordered, Programs, ordered, programs

_WAVES = 2  # programs for each multiprocessor, at least, where there are too few rows for as many


class Sweep(torch.autograd.Function):
    """The sum of the loss over the queries; its gradient makes the scores again, tile by tile."""

    @staticmethod
    def forward(
        ctx: Any, pairs: Pairs, loss: LossOfScores, symmetric: bool, query: Tensor, *keys: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.types = [table.dtype for table in (query, *keys)]
        query, *keys = _as_kernels_take_them((query, *keys))  # type: ignore[assignment]
        plan = plan_of(loss, query)
        blocks = [_Block(pairs, block, plan) for block in pairs.keys]
        reduced = _reduced(plan, query, keys, blocks, [block.there for block in blocks])
        if symmetric:
            reduced = torch.cat([reduced, _reduced(plan, keys[0], [query], blocks, [blocks[0].back])], 1)
        found = evaluate(loss, plan, reduced)
        ctx.blocks, ctx.symmetric = blocks, symmetric
        ctx.save_for_backward(query, *keys, reduced, found.slopes)
        ctx.mark_non_differentiable(found.values, found.counted, found.terms)
        return found.values.sum(), found.values, found.counted, found.terms

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, total: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        ...
