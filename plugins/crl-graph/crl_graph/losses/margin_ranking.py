from __future__ import annotations

from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import nn

from crl_core import Scores, Summed


class MarginRanking(nn.Module):
    """max(0, margin + s⁻ - s⁺), the mean over all negatives (TransE, Bordes et al. 2013, equation 1).

    A triplet loss takes the mean over the triplets that are not 0; this one over all. Of several positives, their mean
    score. Scores of N queries.

    >>> import torch
    >>> import crl_core as crl
    >>> from crl_graph.losses.margin_ranking import MarginRanking
    >>> distances, positive = torch.tensor([[1.0, 1.5, 4.0]]), torch.tensor([[True, False, False]])
    >>> value, terms = MarginRanking(margin=1.0)(crl.Scores.of(-distances, positive))
    >>> value, terms  # max(0, 1 + 1 - 1.5) and max(0, 1 + 1 - 4)
    (tensor([0.5000]), tensor([2.]))

    Args:
        margin: in the unit of the distances.
    """

    takes: ClassVar[Literal["scores"]] = "scores"

    def __init__(self, margin: float = 1.0) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, scores: Scores) -> Summed:
        edge = self.margin - scores.positive.mean()
        return Summed(scores.negative.sum(lambda s, e: F.relu(s + e), edge), scores.negative.count())
