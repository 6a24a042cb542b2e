from __future__ import annotations

from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from ...pairs import Scores, Summed
from ..schedules.scheduled import Scheduled


class Pair(nn.Module):
    """Positives together, negatives at least `margin` apart; for scores that are negative distances, D = -s.

    "hadsell": D² for a positive, max(0, m - D)² for a negative (Hadsell et al. 2006, equation 4, without
    its factors ½); "squared": max(0, m - D²) for a negative (Le-Khac et al. 2020, equation 2, and Chopra
    et al. 2005 in spirit). The mean is over all pairs.
    """

    takes: ClassVar[Literal["scores"]] = "scores"
    wants: ClassVar[str] = "distance"

    def __init__(self, margin: float | Scheduled = 1.0, form: Literal["hadsell", "squared"] = "hadsell") -> None:
        super().__init__()
        self.margin, self.form = margin, form

    def forward(self, scores: Scores) -> Summed:
        value = scores.positive.sum(lambda s: s.square()) + scores.negative.sum(self._apart)
        return Summed(value, scores.positive.count() + scores.negative.count())

    def _apart(self, score: Tensor) -> Tensor:
        if self.form == "hadsell":
            return F.relu(self.margin + score).square()
        return F.relu(self.margin - score.square())
