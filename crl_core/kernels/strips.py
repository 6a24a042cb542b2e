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
from .formula import Few, asked_by, beyond, value_of

_MANY = 1 << 22  # scores from which on their memory matters more than the time to make them twice


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
            return ["the keys are per query, and take more memory than their scores"]
        reasons = beyond(problem) if sees_all_queries(problem.loss) else []
        return [f"all queries are wanted together, and {reason}" for reason in reasons]

    def preference(self, problem: Problem) -> float:
        queries, keys = problem.pairs.shape
        return 1.5 if queries * keys > _MANY else 0.5

    def __call__(self, problem: Problem) -> Outcome:
        if sees_all_queries(problem.loss):
            return _together(problem)
        ways = [problem.pairs, problem.pairs.reversed()] if problem.symmetric else [problem.pairs]
        return joined_outcomes([_strip(problem, pairs, rows) for pairs in ways for rows in pairs.strips()])


def _strip(problem: Problem, pairs: Pairs, rows: slice) -> Outcome:
    found: Outcome = _remade(lambda query, key: loss_of_rows(problem, pairs, rows, query, key), pairs, rows)
    return found


def _remade(run: Any, pairs: Pairs, rows: slice) -> Any:
    """What `run` makes of these queries and all keys, and makes again where a gradient is asked for."""
    if not torch.is_grad_enabled():
        return run(pairs.query.z[rows], pairs.key)
    return checkpoint(
        run, pairs.query.z[rows], pairs.key, use_reentrant=False, preserve_rng_state=False, determinism_check="none"
    )


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
    weight = _listed_weights(pairs) if pairs.positive.soft else None
    few = Few(row, of_positive, len(pairs.query), harmless=True, column=column, weight=weight)
    values, terms, counted = value_of(problem.loss, few, None, of_negative)
    return Outcome(values.sum(), values.detach(), counted, terms.detach())


def _listed_weights(pairs: Pairs) -> Tensor:
    """Those of the positive pairs `[P]`, by a soft relation."""
    found = []
    for rows in pairs.strips():
        positive, _ = pairs.masks(rows)
        weight = pairs.weights(positive, rows)
        assert weight is not None
        found.append(weight[positive])
    return torch.cat(found)
