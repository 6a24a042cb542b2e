from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ...pairs import Pairs
from ...protocols import Outcome, Problem
from .dense import joined, of_rows

_MANY = 1 << 22  # scores from which on their memory matters more than the time to make them twice


class Strips:
    """Strips of queries against all keys, each made again for its gradient: any score, any loss, linear memory."""

    def unsupported(self, problem: Problem) -> list[str]:
        return ["the keys are per query, and take more memory than their scores"] if problem.pairs.per_query else []

    def preference(self, problem: Problem) -> float:
        queries, keys = problem.pairs.shape
        return 1.5 if queries * keys > _MANY else 0.5

    def __call__(self, problem: Problem) -> Outcome:
        ways = [problem.pairs, problem.pairs.reversed()] if problem.symmetric else [problem.pairs]
        return joined([_strip(problem, pairs, rows) for pairs in ways for rows in pairs.strips()])


def _strip(problem: Problem, pairs: Pairs, rows: slice) -> Outcome:
    def run(query: Tensor, key: Tensor) -> Outcome:
        return of_rows(problem, pairs, rows, query, key)

    if not torch.is_grad_enabled():
        return run(pairs.query.z[rows], pairs.key)
    found: Outcome = checkpoint(
        run, pairs.query.z[rows], pairs.key, use_reentrant=False, preserve_rng_state=False, determinism_check="none"
    )
    return found
