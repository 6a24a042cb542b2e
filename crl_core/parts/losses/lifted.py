from __future__ import annotations

from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from ...data.pairs import Scores
from ..schedules.scheduled import Scheduled


class Lifted(nn.Module):
    """All positives against all negatives of a query in smooth maxima; for scores that are negative distances, D = -s.

    max(0, log Σ exp D⁺ + log Σ exp(margin - D⁻)): the generalised lifted structure loss (Hermans et al. 2017, equation
    10, after Oh Song et al. 2016). Scores of N queries; one value per query, `[N]`. A contrast refuses it with a score
    that measures a similarity.

    >>> import torch
    >>> import crl_core as crl
    >>> distances, positive = torch.tensor([[0.5, 1.0, 3.0]]), torch.tensor([[True, False, False]])
    >>> crl.Lifted(margin=1.0)(crl.Scores.of(-distances, positive))
    tensor([0.6269])

    Args:
        margin: in the unit of the distances.
    """

    takes: ClassVar[Literal["scores"]] = "scores"
    wants: ClassVar[str] = "distance"

    def __init__(self, margin: float | Scheduled = 1.0) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, scores: Scores) -> Tensor:
        return F.relu(scores.positive.logsumexp(-1.0) + self.margin + scores.negative.logsumexp())
