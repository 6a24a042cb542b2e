from __future__ import annotations

import torch
from torch import Tensor

from ...data.view import Embeddings
from .rows import Rows


class Queue(Rows):
    """The last `size` keys with their metadata: first in, first out (He et al. 2020, MoCo).

    Any size goes with any batch size. Together with the batch's own keys and with labels, it is the cross-batch memory
    of Wang et al. 2020 (XBM).

    >>> import torch
    >>> import crl_core as crl
    >>> queue = crl.Queue(size=3)
    >>> for batch in (torch.tensor([0, 1]), torch.tensor([2, 3])):
    ...     queue.update(crl.Embeddings(torch.randn(2, 8), {"instance": batch}))
    >>> queue.keys().meta["instance"].sort().values
    tensor([1, 2, 3])

    Args:
        size: how many keys it holds.

    Raises:
        ValueError: the size is below 1.
        CrlError: keys come with other columns, or another dimension, than the first ones.
    """

    def __init__(self, size: int = 65_536) -> None:
        super().__init__(size)
        self.filled = self.next = 0

    def keys(self) -> Embeddings | None:
        return self.read(slice(self.filled)) if self.filled else None

    @torch.no_grad()
    def update(self, keys: Embeddings) -> None:
        self.ready_for(keys)
        count = min(len(keys), self.room)
        places = torch.arange(self.next, self.next + count, device=self.z.device) % self.room
        last = slice(len(keys) - count, None)
        self.write(places, Embeddings(keys.z[last], {name: column[last] for name, column in keys.meta.items()}))
        self.next = (self.next + count) % self.room
        self.filled = min(self.filled + count, self.room)

    def get_extra_state(self) -> Tensor:
        return torch.tensor([self.filled, self.next])

    def set_extra_state(self, state: Tensor) -> None:
        self.filled, self.next = state.tolist()
