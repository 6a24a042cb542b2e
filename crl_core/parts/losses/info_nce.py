from __future__ import annotations

from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from ...pairs import Scores, Summed


class InfoNCE(nn.Module):
    """The positive against all negatives: -log( exp s⁺ / (exp s⁺ + Σ exp s⁻) ).

    van den Oord et al. 2018, equation 4; NT-Xent (Chen et al. 2020) where the keys are the queries.
    Written as softplus(log Σ exp s⁻ - s⁺), which keeps its gradient where cross-entropy rounds to 0.

    With several positives P:
        "outside": mean over P of -log( exp s⁺ / Σ over P and negatives ), L_out of Khosla et al. 2020;
        "inside": -log( Σ over P of exp s⁺ / Σ over P and negatives ), their L_in without its constant;
        "each": every positive alone against the negatives, the mean over all of them.
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
    # In brackets what is 0 for one positive, so that a small loss isn't rounded away beside the scores.
    return F.softplus(scores.negative.logsumexp() - positive) + (positive - scores.positive.mean())
