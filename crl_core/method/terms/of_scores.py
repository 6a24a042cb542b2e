"""The term of a loss on scores: a kernel computes its sum over the queries."""

from __future__ import annotations

import torch
from torch import Tensor

from ... import distributed
from ...contracts.kernels import Kernel, Outcome, Problem, Spanning
from ...contracts.parts import sees_all_queries
from ...data.pairs import Pairs
from ...kernels.dense import Dense
from ...registry.kernels import choose_kernel
from .term import Contrasting, Sides, TermValue, mean


def term(contrast: Contrasting, sides: Sides) -> TermValue:
    pairs = contrast.candidates(sides)
    if sees_all_queries(contrast.loss):
        (keys,) = pairs.keys
        total, terms, ignored = _outcome(contrast, Pairs(keys, (keys,), pairs.positive, pairs.negative))
        return TermValue(total / terms.clamp(min=1), ignored)
    if not contrast.symmetric:
        return mean(*_outcome(contrast, pairs))
    if sides.plain and distributed.world_size() == 1:
        return mean(*_outcome(contrast, pairs, symmetric=True))
    if sides.plain and (found := _across(contrast, pairs, sides)) is not None:
        return mean(*found)
    back = contrast.candidates(sides.turned())
    return mean(*(a + b for a, b in zip(_outcome(contrast, pairs), _outcome(contrast, back), strict=True)))


def _outcome(contrast: Contrasting, pairs: Pairs, symmetric: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """The sum of the loss, the number of its terms, and the number of queries that are left out."""
    problem = Problem(pairs, contrast.score, contrast.loss, symmetric)
    return _sums(_kernel(contrast, problem)(problem))


def _kernel(contrast: Contrasting, problem: Problem) -> Kernel:
    # torch.compile can't follow lists of pairs, whose length depends on the data, but it makes the dense kernel fast.
    plain = contrast.kernel == "auto" and torch.compiler.is_compiling()
    return Dense() if plain else choose_kernel(contrast.kernel, problem)


def _across(contrast: Contrasting, pairs: Pairs, sides: Sides) -> tuple[Tensor, Tensor, Tensor] | None:
    """Both directions at once, on several processes: each has its own queries and the keys of all.

    None if the kernel can't do this on all processes: it depends on the data, and all have to do the same.
    """
    problem, device = Problem(pairs, contrast.score, contrast.loss, symmetric=True), pairs.query.z.device
    kernel = _kernel(contrast, problem)
    spans = isinstance(kernel, Spanning) and kernel.spans(problem)
    if not distributed.everywhere(spans, device) or not isinstance(kernel, Spanning) or sides.key is None:
        return None
    return _sums(kernel.across(problem, distributed.place(len(sides.key), device)))


def _sums(outcome: Outcome) -> tuple[Tensor, Tensor, Tensor]:
    return outcome.total, outcome.terms.sum(), (~outcome.counted).sum()
