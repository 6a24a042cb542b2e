from __future__ import annotations

from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from ...data.pairs import Scores, Summed


class InfoNCE(nn.Module):
    """The positive against all negatives: -log( exp s⁺ / (exp s⁺ + Σ exp s⁻) ).

    van den Oord et al. 2018, equation 4; NT-Xent (Chen et al. 2020) if the keys are the queries. Scores of N queries;
    one value per query, `[N]`. Computed as softplus(log Σ exp s⁻ - s⁺), which still has a gradient when cross-entropy
    rounds to 0.

    With several positives P:
        "outside": mean over P of -log( exp s⁺ / Σ over P and negatives ), L_out of Khosla et al. 2020;
        "inside": -log( Σ over P of exp s⁺ / Σ over P and negatives ), their L_in without its constant;
        "each": each positive alone against the negatives; the mean is over all positives of all queries.

    >>> import torch
    >>> import crl_core as crl
    >>> values, positive = torch.tensor([[2.0, 0.0, 1.0]]), torch.tensor([[True, False, False]])
    >>> crl.InfoNCE()(crl.Scores.of(values, positive))
    tensor([0.4076])
    >>> torch.nn.functional.cross_entropy(values, torch.tensor([0]))
    tensor(0.4076)

    Args:
        positives: how several positives of a query count: "outside", "inside" or "each".
    """

    takes: ClassVar[Literal["scores"]] = "scores"

    def __init__(self, positives: Literal["outside", "inside", "each"] = "outside") -> None:
        super().__init__()
        self.positives = positives

    def forward(self, scores: Scores) -> Tensor | Summed:
        if self.positives == "outside":
            return _outside(scores)
        negative = scores.negative.logsumexp()
        if self.positives == "each":
            alone = scores.positive.sum(lambda s, n: F.softplus(n - s), negative)
            return Summed(alone, scores.positive.count())
        return F.softplus(negative - scores.positive.logsumexp())

    def information(self, scores: Scores) -> Tensor:
        """log K less the loss, for K candidates: a lower bound on mutual information, and never above log K.

        van den Oord et al. 2018, appendix A; of several positives their mean.
        """
        return (scores.positive.count() + scores.negative.count()).clamp(min=1).log() - _outside(scores)


def _outside(scores: Scores) -> Tensor:
    positive = scores.positive.logsumexp()
    # The bracket is 0 for one positive, so that a small loss isn't rounded away next to large scores.
    return F.softplus(scores.negative.logsumexp() - positive) + (positive - scores.positive.mean())
