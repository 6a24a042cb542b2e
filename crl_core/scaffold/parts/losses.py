from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn

from crl_core import Scores


class Weighted(nn.Module):
    """InfoNCE without positives in the denominator, and with a weight: log Σ exp s⁻ - w s⁺ (after Yeh et al. 2022).

    Args:
        weight: the weight of the positives.
    """

    takes: ClassVar[Literal["scores"]] = "scores"

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, scores: Scores) -> Tensor:
        return scores.negative.logsumexp() - self.weight * scores.positive.mean()
