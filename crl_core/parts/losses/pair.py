from __future__ import annotations

from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from ...data.pairs import Scores, Summed
from ..schedules.scheduled import Scheduled


class Pair(nn.Module):
    """Positives together, negatives at least `margin` apart; for scores that are negative distances, D = -s.

    "hadsell": D² for a positive, max(0, m - D)² for a negative (Hadsell et al. 2006, equation 4, without
    its factors ½); "squared": max(0, m - D²) for a negative (Le-Khac et al. 2020, equation 2, and similar to Chopra
    et al. 2005). Scores of N queries; the mean is over all pairs. A contrast refuses it with a score that measures a
    similarity.

    >>> import torch
    >>> import crl_core as crl
    >>> distances, positive = torch.tensor([[0.5, 0.5, 2.0]]), torch.tensor([[True, False, False]])
    >>> value, terms = crl.Pair(margin=1.0)(crl.Scores.of(-distances, positive))
    >>> value, terms  # 0.5² for the positive, (1 - 0.5)² and 0 for the negatives
    (tensor([0.5000]), tensor([3.]))

    Args:
        margin: m, in the unit of the distances.
        form: "hadsell" or "squared".
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
