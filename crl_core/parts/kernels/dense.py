from __future__ import annotations

import torch

from ...pairs import Candidates, Pairs, Scores, Summed
from ...protocols import Outcome, Problem


class Dense:
    """The plain body: every score at once, gradients by autograd. Runs everything; the oracle of the others."""

    def unsupported(self, problem: Problem) -> list[str]:
        return []

    def preference(self, problem: Problem) -> float:
        return 1.0

    def __call__(self, problem: Problem) -> Outcome:
        there = _one_direction(problem.pairs, problem)
        if not problem.symmetric:
            return there
        back = _one_direction(problem.pairs.reversed(), problem)
        return Outcome(there.total + back.total, *(torch.cat(two) for two in zip(there[1:], back[1:], strict=True)))


def _one_direction(pairs: Pairs, problem: Problem) -> Outcome:
    values = problem.score(pairs.query.z, pairs.key)
    positive, negative = pairs.masks()
    counted = positive.any(-1)
    # A query that doesn't count gets harmless candidates, so that no formula can make it NaN.
    ignored = ~counted.unsqueeze(-1)
    found = problem.loss(
        Scores(Candidates(values, positive | ignored), Candidates(values, negative | ignored), pairs.log_noise)
    )
    value, terms = found if isinstance(found, Summed) else (found, torch.ones_like(found))
    losses, terms = torch.where(counted, value, 0.0), torch.where(counted, terms.detach(), 0.0)
    return Outcome(losses.sum(), losses.detach(), counted, terms)
