from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...data.pairs import Scores, Summed
from ..schedules.scheduled import Scheduled


class LiftedStructure(nn.Module):
    """Each positive pair against the negatives of both of its ends; for scores that are negative distances, D = -s.

    ½ max(0, J)² with J = log( Σ over negatives of i of exp(margin - D⁻) + Σ over those of j ) + Dᵢⱼ, the mean over
    all positive pairs, each of which comes as (i, j) and as (j, i): Oh Song et al. 2016, equation 4. The queries
    are the keys. `Lifted` is the generalised form, which treats each end separately.

    >>> import torch
    >>> import crl_core as crl
    >>> distances = torch.tensor([[0.0, 1.0, 3.0], [1.0, 0.0, 2.0], [3.0, 2.0, 0.0]])  # the first two belong together
    >>> positive = torch.tensor([[0, 1, 0], [1, 0, 0], [0, 0, 0]]).bool()
    >>> plain = crl.Scores.of(-distances, positive, negative=~positive & ~torch.eye(3).bool())
    >>> scores = crl.Scores(plain.positive, plain.negative, itself=True)
    >>> value, terms = crl.LiftedStructure(margin=1.0)(scores)
    >>> value, terms
    (tensor([0.0491, 0.0491, 0.0000]), tensor([1., 1., 0.]))

    Args:
        margin: in the unit of the distances.

    Raises:
        CrlError: the keys are not the queries.
    """

    takes: ClassVar[Literal["scores"]] = "scores"
    wants: ClassVar[str] = "distance"
    sees_all_queries: ClassVar[bool] = True

    def __init__(self, margin: float | Scheduled = 1.0) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, scores: Scores) -> Summed:
        # Without any negative it is -inf, of which no gradient can be taken.
        negatives = scores.negative.logsumexp().clamp(min=-1e30)
        value = scores.positive.sum(self._pair, negatives, scores.of_keys(negatives))
        return Summed(value, scores.positive.count())

    def _pair(self, score: Tensor, mine: Tensor, theirs: Tensor) -> Tensor:
        return F.relu(self.margin + torch.logaddexp(mine, theirs) - score).square() / 2
