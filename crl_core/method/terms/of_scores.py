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
from .term import Contrasting, Sides, Term, mean


def term(contrast: Contrasting, sides: Sides) -> Term:
    pairs = contrast.candidates(sides)
    if sees_all_queries(contrast.loss):
        (keys,) = pairs.keys
        total, terms, ignored = _outcome(contrast, Pairs(keys, (keys,), pairs.positive, pairs.negative))
        return Term(total / terms.clamp(min=1), ignored)
    if not contrast.symmetric:
        return mean(*_outcome(contrast, pairs))
    if sides.plain and distributed.world_size() == 1:
        return mean(*_outcome(contrast, pairs, symmetric=True))
    if sides.plain and (found := _across(contrast, pairs, sides)) is not None:
        return mean(*found)
    back = contrast.candidates(sides.turned())
    return mean(*(a + b for a, b in zip(_outcome(contrast, pairs), _outcome(contrast, back), strict=True)))


def _outcome(contrast: Contrasting, pairs: Pairs, symmetric: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """The sum of the loss, of how many terms, and how many queries count for nothing."""
    problem = Problem(pairs, contrast.score, contrast.loss, symmetric)
    return _sums(_kernel(contrast, problem)(problem))


def _kernel(contrast: Contrasting, problem: Problem) -> Kernel:
    # A compiler can't follow lists, whose length the data tell; it makes the most of the plain kernel.
    plain = contrast.kernel == "auto" and torch.compiler.is_compiling()
    return Dense() if plain else choose_kernel(contrast.kernel, problem)


def _across(contrast: Contrasting, pairs: Pairs, sides: Sides) -> tuple[Tensor, Tensor, Tensor] | None:
    """Both directions over several processes, which have queries of their own and everybody's keys, in one traversal.

    None where it can't be: all processes do so, or none, as whether it can depends on the data.
    """
    problem, device = Problem(pairs, contrast.score, contrast.loss, symmetric=True), pairs.query.z.device
    kernel = _kernel(contrast, problem)
    spans = isinstance(kernel, Spanning) and kernel.spans(problem)
    if not distributed.everywhere(spans, device) or not isinstance(kernel, Spanning) or sides.key is None:
        return None
    return _sums(kernel.across(problem, distributed.place(len(sides.key), device)))


def _sums(outcome: Outcome) -> tuple[Tensor, Tensor, Tensor]:
    return outcome.total, outcome.terms.sum(), (~outcome.counted).sum()
