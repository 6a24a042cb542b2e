from __future__ import annotations

import torch
from torch import Tensor

from ..contracts.kernels import Outcome, Problem
from ..data.pairs import Candidates, Pairs, Scores, Summed


class Dense:
    """All scores at once, with gradients by autograd. Runs any problem; the reference for the other kernels.

    Memory grows with N·M, for N queries and M keys.

    >>> import torch
    >>> import crl_core as crl
    >>> rows = crl.Embeddings(torch.randn(6, 4), {"label": torch.tensor([0, 0, 1, 1, 2, 3])})
    >>> pairs = crl.Pairs(rows, (rows,), crl.same("label"), ~crl.same("label"))
    >>> outcome = crl.make("kernel", "dense")(crl.Problem(pairs, crl.Dot(), crl.InfoNCE()))
    >>> outcome.values.shape, torch.allclose(outcome.values.sum(), outcome.total)
    (torch.Size([6]), True)
    """

    def unsupported(self, problem: Problem) -> list[str]:
        return []

    def preference(self, problem: Problem) -> float:
        return 1.0

    def __call__(self, problem: Problem) -> Outcome:
        pairs = problem.pairs
        if pairs.mixed:
            return _loss_of(problem, pairs, slice(None), pairs.values(problem.score))
        there = loss_of_rows(problem, pairs, slice(None), pairs.query.z, pairs.key)
        if not problem.symmetric:
            return there
        pairs = problem.pairs.reversed()
        return joined_outcomes([there, loss_of_rows(problem, pairs, slice(None), pairs.query.z, pairs.key)])


def loss_of_rows(problem: Problem, pairs: Pairs, rows: slice, query: Tensor, key: Tensor) -> Outcome:
    """The loss of some queries, from the matrix of their scores with all keys.

    Args:
        query, key: the embeddings of these queries, and of all keys.
    """
    wide = torch.promote_types(query.dtype, torch.float32)
    return _loss_of(problem, pairs, rows, problem.score(query.to(wide), key.to(wide)))


def _loss_of(problem: Problem, pairs: Pairs, rows: slice, values: Tensor) -> Outcome:
    """The loss of some queries, from their scores `[n, M]`."""
    positive, negative = pairs.masks(rows)
    counted = positive.any(-1)
    # A query without positives gets scores of 0 instead, so that no formula can make it NaN.
    ignored = ~counted.unsqueeze(-1)
    noise = None if pairs.log_noise is None else pairs.log_noise[rows]
    itself = pairs.itself and len(values) == len(pairs.query)
    sides = (
        Candidates(values, positive | ignored, pairs.weights(positive, rows)),
        Candidates(values, negative | ignored),
    )
    loss = problem.loss(Scores(*sides, noise, itself))
    value, terms = loss if isinstance(loss, Summed) else (loss, torch.ones_like(loss))
    losses = torch.where(counted, value, 0.0)
    return Outcome(losses.sum(), losses.detach(), counted, torch.where(counted, terms.detach(), 0.0))


def joined_outcomes(parts: list[Outcome]) -> Outcome:
    """The outcomes of several groups of queries as one."""
    total, *vectors = zip(*parts, strict=True)
    values, counted, terms = map(torch.cat, vectors)
    return Outcome(torch.stack(total).sum(), values, counted, terms)
