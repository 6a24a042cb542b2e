from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn

from ...data.pairs import Scores
from .negative_sampling import logistic


class Sigmoid(nn.Module):
    """Each pair by itself: log(1 + exp(∓s)), summed over a query's keys (SigLIP, Zhai et al. 2023, equation 1).

    Scores of N queries; one value per query, `[N]`. Made for a score with a learned temperature and bias:
    `Cosine(0.1, learned=True, bias=-10.0)`.

    >>> import torch
    >>> import crl_core as crl
    >>> values, positive = torch.tensor([[10.0, -10.0, 0.0]]), torch.tensor([[True, False, False]])
    >>> crl.Sigmoid()(crl.Scores.of(values, positive))  # the last key alone costs something: log 2
    tensor([0.6932])
    """

    takes: ClassVar[Literal["scores"]] = "scores"

    def forward(self, scores: Scores) -> Tensor:
        return logistic(scores)
