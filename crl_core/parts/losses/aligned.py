"""What losses on aligned pairs check before their formula."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...errors import CrlError


def aligned(loss: nn.Module, query: Tensor, key: Tensor, least: int = 2) -> tuple[Tensor, Tensor]:
    """The two tables `[P, D]`, in float32 at least.

    Raises:
        CrlError: their shapes differ, or they have fewer rows than `least`.
    """
    name = type(loss).__name__
    if query.dim() != 2 or query.shape != key.shape:
        raise CrlError(
            f"{name} takes the two embeddings of every positive pair, [P, D] and [P, D]; "
            f"these are {list(query.shape)} and {list(key.shape)}"
        )
    if len(query) < least:
        raise CrlError(f"{name} needs {least} positive pairs or more, not {len(query)}: take a larger batch")
    wide = torch.promote_types(query.dtype, torch.float32)
    return query.to(wide), key.to(wide)
