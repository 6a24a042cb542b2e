from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn

from ...pairs import Scores


class Decoupled(nn.Module):
    """InfoNCE whose positive has left the denominator: log Σ exp s⁻ - s⁺ (DCL, Yeh et al. 2022, equation 6)."""

    takes: ClassVar[Literal["scores"]] = "scores"

    def forward(self, scores: Scores) -> Tensor:
        return scores.negative.logsumexp() - scores.positive.mean()
