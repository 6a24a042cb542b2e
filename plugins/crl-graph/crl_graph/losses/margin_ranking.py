from __future__ import annotations

from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import nn

from crl_core import Scores, Summed


class MarginRanking(nn.Module):
    """max(0, margin + s⁻ - s⁺), the mean over all negatives (TransE, Bordes et al. 2013, equation 1).

    Unlike a triplet loss, whose mean is over the triplets that are not 0 already. Of several positives, their mean.
    """

    takes: ClassVar[Literal["scores"]] = "scores"

    def __init__(self, margin: float = 1.0) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, scores: Scores) -> Summed:
        edge = self.margin - scores.positive.mean()
        return Summed(scores.negative.sum(lambda s, e: F.relu(s + e), edge), scores.negative.count())
