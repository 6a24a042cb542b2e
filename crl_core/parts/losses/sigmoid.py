from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn

from ...pairs import Scores
from .negative_sampling import logistic


class Sigmoid(nn.Module):
    """Every pair by itself: log(1 + exp(∓s)), summed over a query's keys (SigLIP, Zhai et al. 2023, equation 1).

    Goes with a learned temperature and bias of the score: Cosine(0.1, learned=True, bias=-10.0).
    """

    takes: ClassVar[Literal["scores"]] = "scores"

    def forward(self, scores: Scores) -> Tensor:
        return logistic(scores)
