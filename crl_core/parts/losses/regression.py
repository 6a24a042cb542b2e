from __future__ import annotations

from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn


class Regression(nn.Module):
    """The squared distance of the directions, 2 - 2 cos(query, key): no negatives.

    Grill et al. 2020 (BYOL), equation 2. Embeddings `[P, D]` of P positive pairs; one value per pair, `[P]`. Collapse
    minimises it; only BYOL's predictor and stop-gradient prevent that.

    >>> import torch
    >>> import crl_core as crl
    >>> query, key = torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> crl.Regression()(query, key)  # the same direction, and an orthogonal one
    tensor([0., 2.])
    """

    takes: ClassVar[Literal["pairs"]] = "pairs"

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        return 2 - 2 * F.cosine_similarity(query, key, dim=-1)
