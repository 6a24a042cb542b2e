from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ...pairs import Scores


class InvariantSpreading(nn.Module):
    """-log P(k⁺|q) - Σ over negatives of log(1 - P(k⁻|q)), with P the softmax over all keys of the query.

    Ye, Zhang, Yuen, Chang 2019, equations 3 to 6: the positive is recognised, and every other instance is not
    taken for the query. In the paper's second term P is that of the negative's own softmax over the queries; here,
    as in the authors' code, it is the query's, and both views are queries.
    """

    takes: ClassVar[Literal["scores"]] = "scores"

    def forward(self, scores: Scores) -> Tensor:
        everything = scores.positive.logsumexp().logaddexp(scores.negative.logsumexp())
        recognised = everything - scores.positive.mean()
        return recognised + scores.negative.sum(_not_taken, everything)


def _not_taken(score: Tensor, everything: Tensor) -> Tensor:
    """-log(1 - P), for P below 1 by what rounding leaves."""
    return -torch.log(-torch.expm1((score - everything).clamp(max=-1e-6)))
