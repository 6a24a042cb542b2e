from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ... import distributed
from ...contracts.parts import Progress
from ...data.view import Embeddings
from ..keys.queue import Queue


class NearestNeighbour(nn.Module):
    """Replaces each embedding by the nearest direction among those of earlier steps (NNCLR, Dwibedi et al. 2021).

    `[N, D]` to `[N, D]`, of length 1: the support set of equation 2. The embeddings of a step are added in `on_step`,
    so that none finds itself. As long as the support set is empty, an embedding's own direction is returned. In
    evaluation nothing is added.

    >>> import torch
    >>> import crl_core as crl
    >>> head = crl.NearestNeighbour(size=1000)
    >>> _ = head(torch.tensor([[3.0, 0.0], [0.0, 1.0]]))
    >>> head.on_step(crl.Progress(step=1, steps=100, epoch=0, epochs=1))
    >>> head(torch.tensor([[2.0, 1.0]]))
    tensor([[1., 0.]])

    Args:
        size: how many embeddings the support set holds.

    Raises:
        ValueError: the size is below 1.
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
