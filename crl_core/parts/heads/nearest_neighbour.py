from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ... import distributed
from ...protocols import Embeddings, Progress
from ..keys.queue import Queue


class NearestNeighbour(nn.Module):
    """Every embedding's direction replaced by the nearest of those of earlier steps (NNCLR, Dwibedi et al. 2021).

    The support set of equation 2. What a step has embedded joins after the step, so that none finds itself; while
    nothing has joined, an embedding stands for itself. In evaluation nothing joins.

    Args:
        size: how many embeddings are remembered.
    """

    def __init__(self, size: int = 98_304) -> None:
        super().__init__()
        self.size = size
        self.support = Queue(size)
        self._fresh: list[Tensor] = []

    def forward(self, features: Tensor) -> Tensor:
        """`[N, D]` to `[N, D]`, of length 1."""
        z = F.normalize(features.to(torch.promote_types(features.dtype, torch.float32)), dim=-1)
        if self.training:
            self._fresh.append(z.detach())
        held = self.support.keys()
        if held is None:
            return z
        return held.z[(z @ held.z.T).argmax(1)]

    def on_step(self, progress: Progress) -> None:
        for fresh in self._fresh:
            self.support.update(distributed.gather(Embeddings(fresh)))
        self.abandon()

    def abandon(self) -> None:
        self._fresh.clear()

    def _load_from_state_dict(self, *args: Any) -> None:
        self.abandon()  # what waits belongs to what was there before
        super()._load_from_state_dict(*args)
