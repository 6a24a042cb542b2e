from __future__ import annotations

from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from ...data.pairs import Scores
from .donsker_varadhan import log_mean_exp


class JensenShannon(nn.Module):
    """E⁺[log(1 + exp(-s))] + E⁻[log(1 + exp s)]: the estimator of DIM (Hjelm et al. 2019, equation 4).

    Its minimum is 2 log 2 minus twice the Jensen-Shannon divergence. Its variance is lower than that of the bounds in
    nats. Scores of N queries; one value per query, `[N]`.

    >>> import torch
    >>> import crl_core as crl
    >>> values, positive = torch.zeros(1, 3), torch.tensor([[True, False, False]])
    >>> crl.JensenShannon()(crl.Scores.of(values, positive))  # a score that separates nothing: 2 log 2
    tensor([1.3863])
    """

    takes: ClassVar[Literal["scores"]] = "scores"

    def forward(self, scores: Scores) -> Tensor:
        positive = scores.positive.sum(lambda s: F.softplus(-s)) / scores.positive.count()
        return positive + scores.negative.sum(F.softplus) / scores.negative.count().clamp(min=1)

    def information(self, scores: Scores) -> Tensor:
        """1 + E⁺[s] - E⁻[exp s], whose mean is a lower bound on mutual information (Poole et al. 2019, equation 13).

        Where this loss is lowest, s is the logarithm of the density ratio, and the bound is reached.
        """
        return 1 + scores.positive.mean() - log_mean_exp(scores.negative).exp()
