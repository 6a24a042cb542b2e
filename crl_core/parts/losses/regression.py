from __future__ import annotations

from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn


class Regression(nn.Module):
    """The squared distance of the directions, 2 - 2 cos(query, key): no negatives.

    Grill et al. 2020 (BYOL), equation 2. What keeps it from collapsing is around it: a predictor
    on the query's side and a key that gets no gradient.
    """

    takes: ClassVar[Literal["pairs"]] = "pairs"

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        return 2 - 2 * F.cosine_similarity(query, key, dim=-1)
