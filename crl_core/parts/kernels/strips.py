from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ...pairs import Candidates, Pairs
from ...protocols import Outcome, Problem
from .dense import joined, of_rows
from .formula import Few, Unavailable, asked_by, value_of

_MANY = 1 << 22  # scores from which on their memory matters more than the time to make them twice


class Strips:
    """Strips of queries against all keys, each made again for its gradient: any score, any loss, linear memory."""

    def unsupported(self, problem: Problem) -> list[str]:
        if problem.pairs.per_query:
            return ["the keys are per query, and take more memory than their scores"]
        return _apart(problem) if getattr(problem.loss, "together", False) else []

    def preference(self, problem: Problem) -> float:
        queries, keys = problem.pairs.shape
        return 1.5 if queries * keys > _MANY else 0.5

    def __call__(self, problem: Problem) -> Outcome:
        if getattr(problem.loss, "together", False):
            return _together(problem)
        ways = [problem.pairs, problem.pairs.reversed()] if problem.symmetric else [problem.pairs]
        return joined([_strip(problem, pairs, rows) for pairs in ways for rows in pairs.strips()])


def _strip(problem: Problem, pairs: Pairs, rows: slice) -> Outcome:
    found: Outcome = _remade(lambda query, key: of_rows(problem, pairs, rows, query, key), pairs, rows)
    return found


def _remade(run: Any, pairs: Pairs, rows: slice) -> Any:
    """What `run` makes of these queries and all keys, and makes again where a gradient is asked for."""
    if not torch.is_grad_enabled():
        return run(pairs.query.z[rows], pairs.key)
    return checkpoint(
        run, pairs.query.z[rows], pairs.key, use_reentrant=False, preserve_rng_state=False, determinism_check="none"
    )


def _apart(problem: Problem) -> list[str]:
    try:
        asked_by(problem.loss, problem.pairs.query.z)
    except Unavailable as reduction:
        return [f"the loss wants all queries together, and asks for {reduction}"]
    return []


def _together(problem: Problem) -> Outcome:
    """A formula of all queries at once: their positives' scores, and what it asks of the others, strip by strip."""
    pairs = problem.pairs
    asked = asked_by(problem.loss, pairs.query.z)

    def reduced(rows: slice, query: Tensor, key: Tensor) -> list[Tensor]:
        positive, negative = pairs.masks(rows)
        wide = torch.promote_types(query.dtype, torch.float32)
        values = problem.score(query.to(wide), key.to(wide))
        others = Candidates(values, negative)
        return [
            values[positive], *(getattr(others, name)(*() if more is None else (more,)) for name, more in asked)
        ]  # fmt: skip

    strips = [_remade(partial(reduced, rows), pairs, rows) for rows in pairs.strips()]
    of_positive, *of_negative = map(torch.cat, zip(*strips, strict=True))
    row, column = pairs.positive_indices()
    weight = [soft[pairs.masks(rows)[0]] for rows in pairs.strips() if (soft := pairs.weights(rows)) is not None]
    few = Few(
        row, of_positive, len(pairs.query), harmless=True, column=column, weight=torch.cat(weight) if weight else None
    )
    values, terms, counted = value_of(problem.loss, few, None, of_negative)
    return Outcome(values.sum(), values.detach(), counted, terms.detach())
