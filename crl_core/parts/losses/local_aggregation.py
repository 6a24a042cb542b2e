from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ...data.pairs import Candidates, Scores
from .hardest import reaching, threshold


class LocalAggregation(nn.Module):
    """-log P(close ∩ background) / P(background): pulls close neighbours out of all near keys.

    Zhuang, Zhai, Yamins 2019, equations 3 and 4. The background is the set of the keys nearest to the query, positive
    or not; the positives in it are close. If the background holds no positive, it is enlarged up to the nearest
    positive. Scores of N queries; one value per query, `[N]`.

    >>> import torch
    >>> import crl_core as crl
    >>> values, positive = torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([[True, False, False]])
    >>> scores = crl.Scores.of(values, positive)
    >>> crl.LocalAggregation(background=2)(scores)  # the third key is not in the background
    tensor([0.3133])
    >>> torch.allclose(crl.LocalAggregation(background=3)(scores), crl.InfoNCE()(scores))
    True

    Args:
        background: how many keys it holds.

    Raises:
        ValueError: the background is empty.
    """

    takes: ClassVar[Literal["scores"]] = "scores"

    def __init__(self, background: int = 4096) -> None:
        super().__init__()
        if background < 1:
            raise ValueError(f"background is 1 key or more, not {background}")
        self.background = background

    def forward(self, scores: Scores) -> Tensor:
        positive, negative = scores.positive, scores.negative
        # Negatives first: a kernel that sees them in tiles only learns here that this loss asks for more.
        everything = negative.mask | positive.mask
        keys = Candidates(torch.where(positive.mask, positive.values, negative.values), everything)
        if not everything.shape[-1]:
            return positive.sum()
        least = torch.minimum(threshold(keys, self.background), threshold(positive, 1))
        return reaching(keys, least).logsumexp() - reaching(positive, least).logsumexp()
