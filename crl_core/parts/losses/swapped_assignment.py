from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ... import distributed
from ...contracts.parts import Embed, Progress
from ...data.view import Embeddings
from ...errors import CrlError
from ..keys.queue import Queue
from .aligned import aligned


class SwappedAssignment(nn.Module):
    """The query predicts to which prototypes its key is assigned: -Σₖ qₖ log softmax(z·c / τ)ₖ.

    Caron et al. 2020 (SwAV), equations 1 to 3. Embeddings `[P, width]` of P positive pairs; one value per pair, `[P]`.
    z is the query's direction, c are prototypes of length 1, and q is the key's assignment: all keys of all processes
    share the prototypes evenly. q has no gradient. The prototypes are normalised to length 1 after every step, and do
    not move in the first epochs, as in the authors' code. If all embeddings are equal and all prototypes are equally
    far, the loss is log K.

    With pairs in both directions each view predicts the other, which is the paper's swap. In multi-crop, only the
    large crops are keys. All of them are assigned together, and each counts once, however often it is a key; the
    authors' code assigns one crop of all images at a time, which is a contrast for each large crop.

    >>> import torch
    >>> import crl_core as crl
    >>> _ = torch.manual_seed(0)
    >>> loss = crl.SwappedAssignment(prototypes=4, width=8)
    >>> torch.allclose(loss.assign(torch.randn(6, 8)).sum(1), torch.ones(6))  # each key's shares sum to 1
    True
    >>> loss(torch.randn(6, 8), torch.randn(6, 8)).shape
    torch.Size([6])

    Args:
        prototypes, width: how many prototypes, K, and the embeddings' dimension. They are trained with the pipeline.
        temperature: τ.
        epsilon, iterations: of the Sinkhorn algorithm: the weight of the entropy, and how often shares are balanced.
        frozen: epochs at the start in which the prototypes do not move.
        queue, queue_from: the number of earlier keys that share the prototypes with the batch, and the epoch from which
            they do, once the queue is full: for batches that are small compared with the number of prototypes.

    Raises:
        ValueError: a number is out of its range.
        CrlError: the embeddings have another width.
    """

    takes: ClassVar[Literal["pairs"]] = "pairs"
    held: Tensor
    late: Tensor

    def __init__(
        self,
        prototypes: int = 3000,
        width: int = 128,
        temperature: float = 0.1,
        epsilon: float = 0.05,
        iterations: int = 3,
        frozen: int = 1,
        queue: int = 0,
        queue_from: int = 15,
    ) -> None:
        super().__init__()
        for name, value, least in (
            ("prototypes", prototypes, 2),
            ("width", width, 1),
            ("iterations", iterations, 1),
            ("frozen", frozen, 0),
            ("queue", queue, 0),
            ("queue_from", queue_from, 0),
            # exp(-2 / epsilon), the share of what lies opposite, must not be 0 in float32.
            ("epsilon", epsilon, 0.025),
        ):
            if not value >= least:
                raise ValueError(f"{name} is {least} or more, not {value!r}")
        if not temperature > 0:
            raise ValueError(f"a temperature is above 0, not {temperature!r}")
        self.prototypes, self.width, self.temperature = prototypes, width, temperature
        self.epsilon, self.iterations, self.frozen = epsilon, iterations, frozen
        self.table = nn.Parameter(F.normalize(torch.randn(prototypes, width), dim=1))
        self.queue, self.queue_from = queue, queue_from
        self.earlier = Queue(queue) if queue else None
        self.register_buffer("held", torch.tensor(False))
        self.register_buffer("late", torch.tensor(False))
        self._fresh: list[Tensor] = []

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        query, key = aligned(self, query, key, least=0)
        if query.shape[1] != self.width:
            raise CrlError(f"SwappedAssignment has prototypes of width {self.width}, not {query.shape[1]}: set `width`")
        # Held prototypes have a gradient of zero, not none, which processes that train in step would wait for.
        table = torch.where(self.held, self.table.detach(), self.table)
        predicted = F.log_softmax(F.normalize(query, dim=1) @ table.T / self.temperature, dim=1)
        return -(self.assign(key) * predicted).sum(1)

    @torch.no_grad()
    def assign(self, key: Tensor) -> Tensor:
        """The keys' shares in the prototypes, `[P, K]`."""
        if self.earlier is None or not self.late:
            return self._shares(key)
        # A key of several pairs counts once among the earlier ones.
        keys, place = torch.unique(key, dim=0, return_inverse=True)
        if self.training:
            self._fresh.append(keys)
        held = self.earlier.keys()
        if held is None or len(held) < self.queue:
            return self._shares(keys)[place]
        return self._shares(torch.cat([keys, held.z.to(keys.dtype)]))[place]

    def _shares(self, key: Tensor) -> Tensor:
        cosine = F.normalize(key, dim=1) @ F.normalize(self.table, dim=1).T
        return sinkhorn(cosine, self.epsilon, self.iterations)

    def on_epoch(self, progress: Progress, embed: Embed) -> None:
        self.held.fill_(progress.epoch < self.frozen)
        self.late.fill_(progress.epoch >= self.queue_from)

    @torch.no_grad()
    def on_step(self, progress: Progress) -> None:
        if self.earlier is not None:
            for fresh in self._fresh:
                self.earlier.update(Embeddings(fresh))
        self.abandon()
        self.table.copy_(F.normalize(self.table, dim=1))

    def abandon(self) -> None:
        self._fresh.clear()

    def _load_from_state_dict(self, *args: Any) -> None:
        self.abandon()  # what waits belongs to what was there before
        super()._load_from_state_dict(*args)


def sinkhorn(cosine: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Soft assignments `[P, K]` of rows to prototypes, which share out evenly (Caron et al. 2020, equation 3).

    Every row sums to 1 and, the more iterations, every column to the same; over the rows of all processes.
    """
    shares = ((cosine - 1) / epsilon).exp()
    for _ in range(iterations):
        shares = shares / distributed.total(shares.sum(0))
        shares = shares / shares.sum(1, keepdim=True)
    return shares
