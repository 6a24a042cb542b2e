from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import nn

from ...pairs import Scores, Summed
from ..schedules.scheduled import Scheduled
from .hardest import reaching, threshold


class MarginNCE(nn.Module):
    """InfoNCE of every positive alone, its score less a margin, against the nearest negatives.

    Xie, Zhan, Liu, Ong, Loy 2022 (InterCLR): semi-hard negatives, of which the authors draw some from a pool of the
    nearest tenth of the bank, and here all of the pool count; and a cosine margin, which is negative for positives
    that are only guessed.

    Args:
        margin: taken off the positive's score, in its unit: a margin of the cosine, divided by the temperature.
        pool: how many negatives are near, as a share of all keys.
    """

    takes: ClassVar[Literal["scores"]] = "scores"

    def __init__(self, margin: float | Scheduled = 0.0, pool: float = 0.1) -> None:
        super().__init__()
        if not 0 < pool <= 1:
            raise ValueError(f"pool is a share, above 0 and up to 1, not {pool!r}")
        self.margin, self.pool = margin, pool

    def forward(self, scores: Scores) -> Summed:
        negative = scores.negative
        if width := negative.values.shape[-1]:
            negative = reaching(negative, threshold(negative, math.ceil(self.pool * width)))
        alone = scores.positive.sum(lambda s, n: F.softplus(n - s + self.margin), negative.logsumexp())
        return Summed(alone, scores.positive.count())
