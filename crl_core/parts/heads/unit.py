from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import CrlError
from ...protocols import Head


class Unit(nn.Module):
    """Another head's embeddings at length 1, for scores and memories that take lengths as they are."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor) -> Tensor:
        """`[…, width]` to what the other head gives."""
        embedding = self.head(features)
        if not isinstance(embedding, Tensor):
            raise CrlError(f"Unit takes a head that gives one embedding; {type(self.head).__name__} gives more")
        return F.normalize(embedding, dim=-1)
