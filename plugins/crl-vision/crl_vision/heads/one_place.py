from __future__ import annotations

import torch
from torch import Tensor, nn

from crl_core import Head, Output


class OnePlace(nn.Module):
    """Another head on one place of each map: a random place in training, the middle place in evaluation.

    All places of a map would be many queries; AMDIM takes one per image (Bachman et al. 2019, the authors' code).
    `[N, L, width]` to what the head returns for `[N, width]`.

    >>> import torch
    >>> import crl_core as crl
    >>> from crl_vision.heads.one_place import OnePlace
    >>> OnePlace(crl.Linear(16))(torch.randn(4, 49, 32)).shape
    torch.Size([4, 16])

    Args:
        head: for the chosen places.
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
