from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn

from ...data.pairs import Scores
from .donsker_varadhan import log_mean_exp


class NWJ(nn.Module):
    """-( E⁺[s] - E⁻[exp(s - 1)] ): the negative of a lower bound on mutual information, in nats.

    Nguyen, Wainwright, Jordan 2010 (Poole et al. 2019, equation 5). Unbiased, but of high variance if the mutual
    information is high. Scores of N queries; one value per query, `[N]`.

    >>> import torch
    >>> import crl_core as crl
    >>> values, positive = torch.tensor([[2.0, 1.0, 1.0]]), torch.tensor([[True, False, False]])
    >>> crl.NWJ()(crl.Scores.of(values, positive))  # -(2 - exp 0)
    tensor([-1.])
    """

    takes: ClassVar[Literal["scores"]] = "scores"

    def forward(self, scores: Scores) -> Tensor:
        return (log_mean_exp(scores.negative) - 1).exp() - scores.positive.mean()

    def information(self, scores: Scores) -> Tensor:
        """The estimate of every query; its mean is the bound."""
        return -self.forward(scores)
