from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn

from ...data.pairs import Candidates, Scores


class DonskerVaradhan(nn.Module):
    """-( E⁺[s] - log E⁻[exp s] ): the negative of a lower bound on mutual information, in nats.

    Belghazi et al. 2018 (MINE); Hjelm et al. 2019 (DIM). Scores of N queries; one value per query, `[N]`. The logarithm
    is computed per query, over its own negatives, so the value does not depend on how the keys are split among batches,
    queues and processes.

    >>> import torch
    >>> import crl_core as crl
    >>> values, positive = torch.tensor([[2.0, 0.0, 1.0]]), torch.tensor([[True, False, False]])
    >>> crl.DonskerVaradhan().information(crl.Scores.of(values, positive))  # 2 - log((e⁰ + e¹) / 2)
    tensor([1.3799])
    """

    takes: ClassVar[Literal["scores"]] = "scores"

    def forward(self, scores: Scores) -> Tensor:
        return log_mean_exp(scores.negative) - scores.positive.mean()

    def information(self, scores: Scores) -> Tensor:
        """The estimate of every query; its mean is the bound."""
        return -self.forward(scores)


def log_mean_exp(some: Candidates) -> Tensor:
    """log of the mean of exp(score), for every query; -inf where there are none."""
    return some.logsumexp() - some.count().clamp(min=1).log()
