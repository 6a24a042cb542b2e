from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ...contracts.parts import Head
from ...errors import CrlError


class Unit(nn.Module):
    """Normalises another head's embeddings to length 1.

    `[…, width]` to what the other head returns. For scores and memories that don't normalise: a dot product,
    prototypes.

    >>> import torch
    >>> import crl_core as crl
    >>> z = crl.Unit(crl.Linear(16))(torch.randn(4, 8))
    >>> torch.allclose(z.norm(dim=1), torch.ones(4))
    True

    Args:
        head: returns one tensor.

    Raises:
        CrlError: the head returns something else.
    """

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor) -> Tensor:
        """`[…, width]` to what the other head gives."""
        embedding = self.head(features)
        if not isinstance(embedding, Tensor):
            raise CrlError(f"Unit takes a head that gives one embedding; {type(self.head).__name__} gives more")
        return F.normalize(embedding, dim=-1)
