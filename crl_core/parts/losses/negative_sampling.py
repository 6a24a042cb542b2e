from __future__ import annotations

from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from ...pairs import Scores


class NegativeSampling(nn.Module):
    """-log σ(s⁺) - Σ log σ(-s⁻): NCE without its noise term (Mikolov et al. 2013, equation 4; NEG)."""

    takes: ClassVar[Literal["scores"]] = "scores"

    def forward(self, scores: Scores) -> Tensor:
        return logistic(scores)


def logistic(scores: Scores) -> Tensor:
    """Σ log(1 + exp(-s⁺)) + Σ log(1 + exp s⁻): is this pair positive?"""
    return scores.positive.sum(lambda s: F.softplus(-s)) + scores.negative.sum(F.softplus)
