from __future__ import annotations

import torch
from torch import Tensor, nn

from crl_core import Head, Output


class OnePlace(nn.Module):
    """Another head, for one place of each map: drawn at random in training, the middle one else.

    Places of a map as queries are many; AMDIM takes one of each image (Bachman et al. 2019, its authors' code).

    Args:
        head: what the chosen places go through.
    """

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def forward(self, places: Tensor) -> Output:
        """`[N, L, width]` to what the head makes of `[N, width]`."""
        count, many, _ = places.shape
        if self.training:
            place = torch.randint(many, (count,), device=places.device)
        else:
            place = torch.full((count,), many // 2, device=places.device)
        return self.head(places[torch.arange(count, device=places.device), place])
