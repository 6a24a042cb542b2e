from __future__ import annotations

from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from crl_core import Scores


class SelfAdversarial(nn.Module):
    """-log σ(γ + s⁺) - Σ p log σ(-γ - s⁻): the higher a negative scores, the more it weighs.

    Sun et al. 2019 (RotatE), section 3.3, halved as in the authors' code, for scores that are negative distances;
    p is the softmax of the negatives' scores times `sharpness`, and has no gradient. Of several positives, their mean.
    Scores of N queries; one value per query, `[N]`.

    >>> import torch
    >>> import crl_core as crl
    >>> from crl_graph.losses.self_adversarial import SelfAdversarial
    >>> distances, positive = torch.tensor([[1.0, 6.0, 20.0]]), torch.tensor([[True, False, False]])
    >>> scores = crl.Scores.of(-distances, positive)
    >>> SelfAdversarial(margin=6.0)(scores) > SelfAdversarial(margin=6.0, sharpness=0.0)(scores)
    tensor([True])

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
