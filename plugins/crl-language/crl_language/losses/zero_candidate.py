from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crl_core import Scores


class ZeroCandidate(nn.Module):
    """InfoNCE with one more candidate, whose score is always 0, and targets shared by a query's positives.

    QuickThought (Logeswaran and Lee 2018) in its authors' code: a sentence's score with itself is set to 0 and stays in
    the softmax. For P positives: the mean over P of -log( exp s⁺ / (1 + Σ over P and negatives) ). One value per query,
    `[N]`.

    >>> import torch
    >>> import crl_core as crl
    >>> from crl_language.losses.zero_candidate import ZeroCandidate
    >>> values, positive = torch.tensor([[2.0, 1.0]]), torch.tensor([[True, False]])
    >>> ZeroCandidate()(crl.Scores.of(values, positive))
    tensor([0.4076])
    >>> torch.nn.functional.cross_entropy(torch.tensor([[2.0, 0.0, 1.0]]), torch.tensor([0]))
    tensor(0.4076)
    """

    takes: ClassVar[Literal["scores"]] = "scores"

    def forward(self, scores: Scores) -> Tensor:
        """Scores of N queries to `[N]`."""
        positive, negative = scores.positive.logsumexp(), scores.negative.logsumexp()
        others = torch.logaddexp(negative, torch.zeros_like(negative))
        return F.softplus(others - positive) + (positive - scores.positive.mean())
