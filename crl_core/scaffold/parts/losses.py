from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn

from crl_core.pairs import Scores


class Decoupled(nn.Module):
    """The positive leaves the denominator of InfoNCE: log Σ exp s⁻ - s⁺ (Yeh et al. 2022, equation 6).

    Args:
        weight: of the positives.
    """

    takes: ClassVar[Literal["scores"]] = "scores"

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, scores: Scores) -> Tensor:
        return scores.negative.logsumexp() - self.weight * scores.positive.mean()
