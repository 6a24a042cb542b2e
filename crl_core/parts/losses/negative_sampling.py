from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...data.pairs import Scores, Summed


class NegativeSampling(nn.Module):
    """-log σ(s⁺) - Σ log σ(-s⁻): NCE without its noise term (Mikolov et al. 2013, equation 4; NEG).

    Scores of N queries; one value per query, `[N]`. Usually with drawn keys: `Drawn`, or `PerQuery`.

    >>> import torch
    >>> import crl_core as crl
    >>> values, positive = torch.zeros(1, 3), torch.tensor([[True, False, False]])
    >>> crl.NegativeSampling()(crl.Scores.of(values, positive))  # 3 log 2
    tensor([2.0794])

    Args:
        summed: a step follows the sum over all queries, not their mean: then a query counts the same in batches of
            different sizes, and a rate of SGD is one for each query, as in word2vec.
    """

    takes: ClassVar[Literal["scores"]] = "scores"

    def __init__(self, summed: bool = False) -> None:
        super().__init__()
        self.summed = summed

    def forward(self, scores: Scores) -> Tensor | Summed:
        value = logistic(scores)
        # A mean over no terms is divided by 1.
        return Summed(value, torch.zeros_like(value)) if self.summed else value


def logistic(scores: Scores) -> Tensor:
    """Σ log(1 + exp(-s⁺)) + Σ log(1 + exp s⁻): is this pair positive?"""
    return scores.positive.sum(lambda s: F.softplus(-s)) + scores.negative.sum(F.softplus)
