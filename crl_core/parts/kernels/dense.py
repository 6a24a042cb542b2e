from __future__ import annotations

import torch

from ...pairs import Candidates, Scores
from ...protocols import Outcome, Problem


class Dense:
    """The plain body: every score at once, gradients by autograd. Runs everything; the oracle of the others."""

    def unsupported(self, problem: Problem) -> list[str]:
        return []

    def preference(self, problem: Problem) -> float:
        return 1.0

    def __call__(self, problem: Problem) -> Outcome:
        pairs = problem.pairs
        values = problem.score(pairs.query.z, pairs.key)
        positive, negative = pairs.masks()
        counted = positive.any(-1)
        # A query that doesn't count gets harmless candidates, so that no formula can make it NaN.
        ignored = ~counted.unsqueeze(-1)
        scores = Scores(Candidates(values, positive | ignored), Candidates(values, negative | ignored), pairs.log_noise)
        losses = torch.where(counted, problem.loss(scores), 0.0)
        return Outcome(losses.sum(), losses.detach(), counted)
