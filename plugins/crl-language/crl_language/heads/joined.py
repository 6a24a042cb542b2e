from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Joined(nn.Module):
    """Several vectors of a row side by side: those of the encoders of one branch.

    By name `[…, width]` each to `[…, sum of the widths]`; a single tensor stays as it is.

    >>> import torch
    >>> from crl_language.heads.joined import Joined
    >>> Joined()({"a": torch.ones(2, 3), "b": torch.zeros(2, 1)}).shape
    torch.Size([2, 4])
    """

    def forward(self, features: Mapping[str, Tensor] | Tensor) -> Tensor:
        """`[…, width]` of each name to `[…, sum of the widths]`."""
        return features if isinstance(features, Tensor) else torch.cat(list(features.values()), dim=-1)
