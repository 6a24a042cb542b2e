"""The Triton programs in autograd: reductions and slopes in the forward pass, gradients in the backward pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.pairs import Pairs
from .formula import LossOfScores
from .task import once_only
from .triton_block import Block, Reduced
from .triton_plan import evaluate, plan_of


class Sweep(torch.autograd.Function):
    """The sum of the loss over the queries. Its backward pass computes the scores again, tile by tile."""

    @staticmethod
    def forward(ctx: Any, pairs: Pairs, loss: LossOfScores, symmetric: bool, *tables: Tensor) -> tuple[Tensor, ...]:
        ctx.types, ctx.width = [table.dtype for table in tables], tables[0].shape[1]
        query, *keys = _as_kernels_take_them(tables)
        plan, precision = plan_of(loss, query), _precision(tables)
        blocks = [Block(pairs, block, plan, precision) for block in pairs.keys]
        parts = [block.reduce(query, key, turned=False) for block, key in zip(blocks, keys, strict=True)]
        reduced = plan.merged(parts, query)
        if symmetric:
            back = plan.merged([blocks[0].reduce(keys[0], query, turned=True)], keys[0])
            reduced = torch.cat([reduced, back], 1)
        found = evaluate(loss, plan, reduced)
        ctx.blocks, ctx.symmetric = blocks, symmetric
        ctx.save_for_backward(reduced, found.slopes, query, *keys)
        ctx.mark_non_differentiable(found.values, found.counted, found.terms)
        return found.values.sum(), found.values, found.counted, found.terms

    @staticmethod
    def backward(ctx: Any, total: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        once_only()
        reduced, slopes, query, *keys = ctx.saved_tensors
        there, back = (
            Reduced(values.contiguous(), by.contiguous())
            for values, by in zip(*(x.tensor_split([len(query)], 1) for x in (reduced, slopes)), strict=True)
        )
        of_keys = back if ctx.symmetric else None
        sides = list(zip(ctx.blocks, keys, ctx.needs_input_grad[4:], strict=True))
        gradients: list[Tensor | None] = [None]
        if ctx.needs_input_grad[3]:
            pushed = [block.push(query, key, there, of_keys, turned=False) for block, key, _ in sides]
            gradients[0] = pushed[0]
            for more in pushed[1:]:
                gradients[0] = pushed[0].add_(more)
        for block, key, wanted in sides:
            gradients.append(block.push(key, query, of_keys, there, turned=True) if wanted else None)
        found = [
            None if d is None else d[:, : ctx.width].mul_(total).to(t)
            for d, t in zip(gradients, ctx.types, strict=True)
        ]
        return (None, None, None, *found)


def _as_kernels_take_them(tables: Sequence[Tensor]) -> list[Tensor]:
    """All in bfloat16, or all in float32: in float16 the slopes of many keys would be too small.

    Rows begin at multiples of 16 numbers, so that they are read at full speed.
    """
    # Triton's interpreter, on the CPU, has no products of bfloat16.
    half = all(table.dtype == torch.bfloat16 and table.is_cuda for table in tables)
    more = -tables[0].shape[1] % 16
    wide = [table.to(torch.bfloat16 if half else torch.float32) for table in tables]
    return [F.pad(table, (0, more)) if more else table.contiguous() for table in wide]


def _precision(tables: Sequence[Tensor]) -> str:
    """The precision of products of float32: three products in TF32, or one, if torch may round to TF32 too.

    float16 has no more digits than TF32, so it loses nothing.
    """
    exact = torch.get_float32_matmul_precision() == "highest" and any(t.dtype == torch.float32 for t in tables)
    return "tf32x3" if exact else "tf32"
