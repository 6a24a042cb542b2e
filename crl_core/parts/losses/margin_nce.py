from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import nn

from ...data.pairs import Scores, Summed
from ..schedules.scheduled import Scheduled
from .hardest import reaching, threshold


class MarginNCE(nn.Module):
    """InfoNCE of each positive alone, with a margin subtracted from its score, against the nearest negatives.

    Xie, Zhan, Liu, Ong, Loy 2022 (InterCLR). Semi-hard negatives: the authors draw some from a pool of the nearest
    tenth of the bank; here the whole pool counts. The cosine margin is negative for positives that are only guessed.
    Scores of N queries; the mean is over all positives.

    >>> import torch
    >>> import crl_core as crl
    >>> values, positive = torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([[True, False, False]])
    >>> value, terms = crl.MarginNCE(margin=0.0, pool=0.1)(crl.Scores.of(values, positive))
    >>> value, terms  # a tenth of three keys is one: log(1 + exp(1 - 2))
    (tensor([0.3133]), tensor([1.]))

    Args:
        margin: subtracted from the positive's score, in its unit: a margin of the cosine, divided by the temperature.
        pool: the share of all keys that count as near negatives.

    Raises:
        ValueError: the pool is not above 0 and up to 1.
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
