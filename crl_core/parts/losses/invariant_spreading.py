from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ...data.pairs import Scores


class InvariantSpreading(nn.Module):
    """-log P(k⁺|q) - Σ over negatives of log(1 - P(k⁻|q)), with P the softmax over all keys of the query.

    Ye, Zhang, Yuen, Chang 2019, equations 3 to 6: the first term recognises the positive, the second keeps all other
    instances from being recognised as the query. In the paper, P in the second term is the softmax of the negative over
    the queries; here, as in the authors' code, it is that of the query, and both views are queries. Scores of N
    queries; one value per query, `[N]`.

    >>> import torch
    >>> import crl_core as crl
    >>> values, positive = torch.zeros(1, 2), torch.tensor([[True, False]])  # P is 1/2 for both keys
    >>> crl.InvariantSpreading()(crl.Scores.of(values, positive))  # 2 log 2
    tensor([1.3863])
    """

    takes: ClassVar[Literal["scores"]] = "scores"

    def forward(self, scores: Scores) -> Tensor:
        everything = scores.positive.logsumexp().logaddexp(scores.negative.logsumexp())
        recognised = everything - scores.positive.mean()
        return recognised + scores.negative.sum(_not_taken, everything)


def _not_taken(score: Tensor, everything: Tensor) -> Tensor:
    """-log(1 - P), for P below 1 by what rounding leaves."""
    return -torch.log(-torch.expm1((score - everything).clamp(max=-1e-6)))
