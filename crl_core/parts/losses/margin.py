from __future__ import annotations

from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import nn

from ...data.pairs import Scores, Summed
from ..schedules.scheduled import Scheduled


class Margin(nn.Module):
    """Positives nearer than `boundary` - `margin`, negatives further away than `boundary` + `margin`.

    Wu et al. 2017, equation 7, for scores that are negative distances, D = -s; made for negatives that are drawn by
    distance. Scores of N queries; the mean is over all pairs on the wrong side. A contrast refuses it with a score that
    measures a similarity.

    >>> import torch
    >>> import crl_core as crl
    >>> distances, positive = torch.tensor([[1.5, 1.0, 2.0]]), torch.tensor([[True, False, False]])
    >>> value, terms = crl.Margin(margin=0.2, boundary=1.2)(crl.Scores.of(-distances, positive))
    >>> value, terms  # 1.5 should be below 1.0, 1.0 above 1.4; 2.0 is far enough
    (tensor([0.9000]), tensor([2.]))

    Args:
        margin, boundary: in the unit of the distances.
    """

    takes: ClassVar[Literal["scores"]] = "scores"
    wants: ClassVar[str] = "distance"

    def __init__(self, margin: float | Scheduled = 0.2, boundary: float = 1.2) -> None:
        super().__init__()
        self.margin, self.boundary = margin, boundary

    def forward(self, scores: Scores) -> Summed:
        near, far = self.boundary - self.margin, self.boundary + self.margin
        value = scores.positive.sum(lambda s: F.relu(-s - near)) + scores.negative.sum(lambda s: F.relu(far + s))
        wrong = scores.positive.sum(lambda s: (-s > near).to(s.dtype)) + scores.negative.sum(
            lambda s: (-s < far).to(s.dtype)
        )
        return Summed(value, wrong)
