"""Scores as a matrix product of two tables, which the kernels `blockwise` and `triton` need."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from torch import Tensor

from ..contracts.kernels import Problem
from ..contracts.parts import FactorisedScore


def factors(problem: Problem) -> tuple[Tensor, list[Tensor]]:
    """Tables for the queries and for each block of keys, whose products `query @ key.T` are the scores."""
    pairs, score = problem.pairs, cast(FactorisedScore, problem.score)
    if len(pairs.keys) == 1:
        query, key = score.factors(pairs.query.z, pairs.keys[0].z)
        return query, [key]
    # One block at a time: a score may treat keys that are the queries specially, but all blocks must be treated alike.
    query = score.factors(pairs.query.z, pairs.keys[0].z[:0])[0]
    return query, [score.factors(pairs.query.z[:0], block.z)[1] for block in pairs.keys]


def no_product(problem: Problem) -> Iterator[str]:
    """Why the scores are not a matrix product."""
    if problem.pairs.per_query:
        yield "the keys are per query, so their scores are no matrix product"
    if not hasattr(problem.score, "factors"):
        yield f"the score {type(problem.score).__name__} is no matrix product (it has no `factors`)"
