from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..contracts.kernels import Outcome, Problem
from ..contracts.parts import sees_all_queries
from ..data.pairs import Candidates, Pairs
from .dense import joined_outcomes, loss_of_rows
from .formula import CandidateList, asked_by, needs_all_scores, value_of

_MANY = 1 << 22  # from so many scores on, memory matters more than the time to compute them twice


class Strips:
    """Strips of queries against all keys, each computed again for its gradient: any score, any loss, linear memory.

    For N queries and M keys memory grows with N + M. For keys per query use `dense`.

    >>> import torch
    >>> import crl_core as crl
    >>> rows = crl.Embeddings(torch.randn(6, 4), {"label": torch.tensor([0, 0, 1, 1, 2, 3])})
    >>> problem = crl.Problem(
    ...     crl.Pairs(rows, (rows,), crl.same("label"), ~crl.same("label")), crl.Joint(), crl.InfoNCE()
    ... )
    >>> strips, dense = (crl.make("kernel", name)(problem).total for name in ("strips", "dense"))
    >>> torch.allclose(strips, dense, atol=1e-5)
    True
    """

    def unsupported(self, problem: Problem) -> list[str]:
        if problem.pairs.per_query:
            return ["the keys are per query, and need more memory than their scores"]
        reasons = needs_all_scores(problem) if sees_all_queries(problem.loss) else []
        return [f"the loss needs all queries at once, and {reason}" for reason in reasons]

    def preference(self, problem: Problem) -> float:
        queries, keys = problem.pairs.shape
        return 1.5 if queries * keys > _MANY else 0.5

    def __call__(self, problem: Problem) -> Outcome:
        if sees_all_queries(problem.loss):
            return _all_queries(problem)
        ways = [problem.pairs, problem.pairs.reversed()] if problem.symmetric else [problem.pairs]
        return joined_outcomes([_strip(problem, pairs, rows) for pairs in ways for rows in pairs.strips()])


def _strip(problem: Problem, pairs: Pairs, rows: slice) -> Outcome:
    outcome: Outcome = _remade(lambda query, key: loss_of_rows(problem, pairs, rows, query, key), pairs, rows)
    return outcome


def _remade(run: Any, pairs: Pairs, rows: slice) -> Any:
    """The result of `run` for these queries and all keys; computed again for a gradient, if there are many scores."""
    if not torch.is_grad_enabled():
        return run(pairs.query.z[rows], pairs.key)
    return checkpoint(
        run, pairs.query.z[rows], pairs.key, use_reentrant=False, preserve_rng_state=False, determinism_check="none"
    )


def _all_queries(problem: Problem) -> Outcome:
    """A loss on all queries at once: from the scores of the positives, and the reductions, strip by strip."""
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
    weight = _listed_weights(pairs) if pairs.positive.soft else None
    candidates = CandidateList(row, of_positive, len(pairs.query), harmless=True, column=column, weight=weight)
    values, terms, counted = value_of(problem.loss, candidates, None, of_negative)
    return Outcome(values.sum(), values.detach(), counted, terms.detach())


def _listed_weights(pairs: Pairs) -> Tensor:
    """The weights of the positive pairs `[P]`, from a soft relation."""
    found = []
    for rows in pairs.strips():
        positive, _ = pairs.masks(rows)
        weight = pairs.weights(positive, rows)
        assert weight is not None
        found.append(weight[positive])
    return torch.cat(found)
