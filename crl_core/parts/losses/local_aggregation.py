from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ...pairs import Candidates, Scores
from .hardest import reaching, threshold


class LocalAggregation(nn.Module):
    """-log P(close ∩ background) / P(background): close neighbours are gathered out of all near ones.

    Zhuang, Zhai, Yamins 2019, equations 3 and 4. The background are the nearest keys of the query, positive or not,
    and its positives among them are close. Where none is, the background reaches to the nearest positive.

    Args:
        background: how many keys are near.
    """

    takes: ClassVar[Literal["scores"]] = "scores"

    def __init__(self, background: int = 4096) -> None:
        super().__init__()
        if background < 1:
            raise ValueError(f"background is 1 key or more, not {background}")
        self.background = background

    def forward(self, scores: Scores) -> Tensor:
        positive, negative = scores.positive, scores.negative
        # Negatives first: bodies that see them only in tiles then know that this asks for more.
        everything = negative.mask | positive.mask
        keys = Candidates(torch.where(positive.mask, positive.values, negative.values), everything)
        if not everything.shape[-1]:
            return positive.sum()
        least = torch.minimum(threshold(keys, self.background), threshold(positive, 1))
        return reaching(keys, least).logsumexp() - reaching(positive, least).logsumexp()
