from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn

from ...data.pairs import Scores


class Decoupled(nn.Module):
    """InfoNCE without the positive in the denominator: log Σ exp s⁻ - s⁺ (DCL, Yeh et al. 2022, equation 6).

    Scores of N queries; one value per query, `[N]`. Of several positives, their mean score. The value can be negative.

    >>> import torch
    >>> import crl_core as crl
    >>> values, positive = torch.tensor([[2.0, 0.0, 1.0]]), torch.tensor([[True, False, False]])
    >>> crl.Decoupled()(crl.Scores.of(values, positive))
    tensor([-0.6867])
    """

    takes: ClassVar[Literal["scores"]] = "scores"

    def forward(self, scores: Scores) -> Tensor:
        return scores.negative.logsumexp() - scores.positive.mean()
