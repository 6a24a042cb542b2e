from __future__ import annotations

from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import nn

from ...pairs import Scores, Summed
from ..schedules.scheduled import Scheduled


class Margin(nn.Module):
    """Positives nearer than `boundary` - `margin`, negatives further than `boundary` + `margin`.

    Wu et al. 2017, equation 7, for scores that are negative distances, D = -s; made for negatives that
    are drawn by distance. The mean is over the pairs on the wrong side.
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
