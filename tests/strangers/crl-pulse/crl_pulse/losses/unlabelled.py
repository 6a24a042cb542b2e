"""A loss for series whose other windows are unlabelled, rather than negative."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

import crl_core as crl


class Unlabelled(nn.Module):
    """Binary cross-entropy in which a negative is positive with probability w (Tonekaboni et al. 2021, equation 2).

    Args:
        weight: w, the share of windows outside the neighbourhood that are like it all the same.
    """

    takes = "scores"

    def __init__(self, weight: float = 0.05) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, scores: crl.Scores) -> Tensor:
        """`[N]`: -log σ(s⁺) - (1 - w) log σ(-s⁻) - w log σ(s⁻), in the mean over positives and over negatives."""
        positive, negative, w = scores.positive, scores.negative, self.weight
        pulled = positive.sum(lambda s: F.softplus(-s)) / positive.count()
        pushed = negative.sum(lambda s: (1 - w) * F.softplus(s) + w * F.softplus(-s)) / negative.count().clamp(min=1)
        return pulled + pushed
