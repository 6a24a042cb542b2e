from __future__ import annotations

from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from crl_core import Scores


class SelfAdversarial(nn.Module):
    """-log σ(γ + s⁺) - Σ p log σ(-γ - s⁻), over negatives that weigh the more the higher they score.

    Sun et al. 2019 (RotatE), section 3.3, halved as in their source, for scores that are negative distances;
    p is the softmax of the negatives' scores times `sharpness`, and has no gradient. Of several positives, their mean.

    Args:
        margin: γ, the distance at which a triple is as likely true as false.
        sharpness: α; at 0 all negatives weigh the same.
    """

    takes: ClassVar[Literal["scores"]] = "scores"

    def __init__(self, margin: float = 6.0, sharpness: float = 1.0) -> None:
        super().__init__()
        self.margin, self.sharpness = margin, sharpness

    def forward(self, scores: Scores) -> Tensor:
        pulled = scores.positive.sum(lambda s: F.softplus(-self.margin - s)) / scores.positive.count()
        return (pulled + scores.negative.sum(self._pushed, self._whole(scores))) / 2

    def _whole(self, scores: Scores) -> Tensor:
        """log Σ exp(α s⁻), by which the weights sum to 1."""
        return scores.negative.logsumexp(self.sharpness).detach()

    def _pushed(self, score: Tensor, whole: Tensor) -> Tensor:
        weight = (self.sharpness * score.detach() - whole).exp()
        return weight * F.softplus(self.margin + score)
