from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...data.pairs import Scores


class HardNegatives(nn.Module):
    """InfoNCE with negatives weighted by how hard they are, and corrected for positives among them.

    Robinson et al. 2021 (HCL), equation 4. The sum over the N negatives becomes
        G = ( N E_β[exp s⁻] - N τ⁺ exp s⁺ ) / (1 - τ⁺), at least N · lowest,
    where E_β weights each negative by exp(β s⁻). β = 0 is the debiased loss of Chuang et al. 2020
    (equation 8); with τ⁺ = 0 as well it is InfoNCE. Scores of N queries; one value per query, `[N]`.

    >>> import torch
    >>> import crl_core as crl
    >>> values, positive = torch.tensor([[2.0, 0.0, 1.0]]), torch.tensor([[True, False, False]])
    >>> scores = crl.Scores.of(values, positive)
    >>> crl.HardNegatives(beta=1.0, prior=0.0)(scores) > crl.InfoNCE()(scores)  # the harder negative weighs more
    tensor([True])
    >>> torch.allclose(crl.HardNegatives(beta=0.0, prior=0.0)(scores), crl.InfoNCE()(scores))
    True

    Args:
        beta: β. Scores are already divided by the temperature.
        prior: τ⁺, the probability that a random key is a positive.
        lowest: the smallest possible exp s: exp(-1 / temperature) for cosines.

    Raises:
        ValueError: β or `lowest` is below 0, or the prior is not from 0 to below 1.
    """

    takes: ClassVar[Literal["scores"]] = "scores"

    def __init__(self, beta: float = 1.0, prior: float = 0.1, lowest: float = math.exp(-2.0)) -> None:
        super().__init__()
        if not 0 <= prior < 1 or beta < 0 or lowest < 0:
            raise ValueError(
                f"beta and lowest are 0 or more and the prior is from 0 to 1, not {beta}, {lowest}, {prior}"
            )
        self.beta, self.prior, self.lowest = beta, prior, lowest

    def forward(self, scores: Scores) -> Tensor:
        positive, count = scores.positive.logsumexp(), scores.negative.count()
        negative = scores.negative.logsumexp(1 + self.beta)
        if self.beta:
            weighted = negative - scores.negative.logsumexp(self.beta) + count.log()
            negative = torch.where(count > 0, weighted, negative)
        if self.prior:
            negative = self._corrected(negative, positive, count.log())
        return F.softplus(negative - positive)

    def _corrected(self, negative: Tensor, positive: Tensor, log_count: Tensor) -> Tensor:
        """log of what is left of the sum without the positives that hide in it."""
        hidden = log_count + math.log(self.prior) + positive
        floor = log_count + math.log(max(self.lowest, torch.finfo(positive.dtype).tiny))
        some = hidden < negative
        left = negative + torch.log1p(-(torch.where(some, hidden - negative, -1.0)).exp()) - math.log(1 - self.prior)
        return torch.where(some, torch.maximum(left, floor), floor)
