from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ...protocols import Head


class Unit(nn.Module):
    """Another head's embeddings at length 1, for scores and memories that take lengths as they are."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor) -> Tensor:
        """`[…, width]` to what the other head gives."""
        return F.normalize(self.head(features), dim=-1)
