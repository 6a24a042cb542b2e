"""Scores that are a product of two tables: what the kernels `blockwise` and `triton` need, and why they can't run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from torch import Tensor

from ..contracts.kernels import Problem
from ..contracts.parts import FactorisedScore


def factors(problem: Problem) -> tuple[Tensor, list[Tensor]]:
    """The queries, and each block of keys, such that `query @ key.T` are their scores; one tensor where they are."""
    pairs, score = problem.pairs, cast(FactorisedScore, problem.score)
    if len(pairs.keys) == 1:
        query, key = score.factors(pairs.query.z, pairs.keys[0].z)
        return query, [key]
    # One by one: a score may treat keys that are the queries in a way of their own, and all blocks must get the same.
    query = score.factors(pairs.query.z, pairs.keys[0].z[:0])[0]
    return query, [score.factors(pairs.query.z[:0], block.z)[1] for block in pairs.keys]


def no_product(problem: Problem) -> Iterator[str]:
    """Why the scores are no product of two tables."""
    if problem.pairs.per_query:
        yield "the keys are per query, so their scores are no matrix product"
    if not hasattr(problem.score, "factors"):
        yield f"the score {type(problem.score).__name__} is no matrix product (it has no `factors`)"
