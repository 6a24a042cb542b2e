from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ...contracts.parts import Items, Source, Stream
from ...data.view import Embeddings
from ...errors import CrlError
from .rows import Rows


class Bank(Rows):
    """One key for every item of the data set: v ← normalise(m v + (1 - m) z), z the item's newest direction.

    Wu et al. 2018, section 3.4, with m = 0.5. An item's first embedding is taken unchanged, and several embeddings of
    one item in one batch count by their mean. With m = 0 the newest embedding replaces the old one, and keeps its
    length.

    Items that were never seen are no keys, so a query whose positives are all in the bank counts from its
    second epoch on. `initial="random"` begins with random directions instead, as the authors' code does: the first
    epoch then pulls every item towards a random point, whose other columns are unknown.

    >>> import torch
    >>> import crl_core as crl
    >>> bank = crl.Bank(size=1000)
    >>> bank.update(crl.Embeddings(torch.eye(2), {"instance": torch.tensor([7, 500])}))
    >>> bank.keys().meta["instance"]
    tensor([  7, 500])

    Args:
        size: how many items the source has for training; None takes the number from the source.
        momentum: m.
        column: the column with the number of the item, 0 … size - 1. Rows where it is unknown are left out.
        initial: "empty" or "random": what the bank holds before an item is seen.

    Raises:
        ValueError: the size is below 1, the momentum is not from 0 to below 1, or `initial` is another word.
        CrlError: the size is unknown, keys lack the column, or an item has a number beyond the size.
    """

    def __init__(
        self,
        size: int | None = None,
        momentum: float = 0.5,
        column: str = "instance",
        initial: Literal["empty", "random"] = "empty",
    ) -> None:
        super().__init__(size)
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum is from 0 to below 1, not {momentum!r}")
        if initial not in ("empty", "random"):
            raise ValueError(f"initial is 'empty' or 'random', not {initial!r}")
        self.momentum, self.column, self.initial = momentum, column, initial
        self.filled = 0

    def on_source(self, items: Items, source: Source) -> None:
        """Learns how many items there are.

        Raises:
            CrlError: nobody can know, or it holds another number of them.
        """
        if self.size is not None:
            return  # an explicit size may count something else: classes, or the items of several sources
        if isinstance(items, Stream) or self.column != "instance":
            why = "a stream's items are not counted" if isinstance(items, Stream) else "that column is its own"
            if self._learned is None:
                raise CrlError(f"a bank of items by {self.column!r} can't size itself, as {why}: give it a `size`")
            return
        if self._learned not in (None, len(items)):
            raise CrlError(
                f"the bank holds {self._learned} items, and {type(source).__name__} has {len(items)} for training: it "
                f"goes on with the data that it began with"
            )
        self._learned = len(items)

    def keys(self) -> Embeddings | None:
        if not self.filled:
            return None
        # A full bank is handed over as it is: it may be large.
        full = self.filled == self.room
        return self.read(slice(None) if full else self._seen().nonzero().squeeze(1))

    @torch.no_grad()
    def update(self, keys: Embeddings) -> None:
        items, newest = self._by_item(keys)
        self._ready(keys)
        if self.momentum:
            old = self.z[items]
            share = self.momentum * self._seen()[items].to(old.dtype).unsqueeze(1)
            z = F.normalize(share * old + (1 - share) * F.normalize(newest.z, dim=1), dim=1)
            newest = Embeddings(z, newest.meta)
        self.write(items, newest)
        if self.filled < self.room:
            self.filled = int(self._seen().sum())

    def _by_item(self, keys: Embeddings) -> tuple[Tensor, Embeddings]:
        """The items among the keys, and of each the mean embedding with the columns of its last row."""
        if self.column not in keys.meta:
            raise CrlError(
                f"the bank finds an item's row by the column {self.column!r}; "
                f"these keys have {', '.join(sorted(keys.meta)) or 'no columns'}"
            )
        known = keys.meta[self.column] >= 0
        z, meta = keys.z[known], {name: column[known] for name, column in keys.meta.items()}
        items, group = torch.unique(meta[self.column].long(), return_inverse=True)
        if len(items) and items[-1] >= self.room:
            raise CrlError(
                f"the bank has room for {self.room} items, 0 … {self.room - 1}, and there is one with "
                f"{self.column} {int(items[-1])}: `size` is the number of training items"
            )
        count = torch.bincount(group, minlength=len(items)).to(z.dtype).unsqueeze(1)
        mean = z.new_zeros(len(items), z.shape[1]).index_add_(0, group, z) / count
        place = torch.arange(len(group), device=group.device)
        last = place.new_zeros(len(items)).scatter_reduce_(0, group, place, "amax", include_self=False)
        return items, Embeddings(mean, {name: column[last] for name, column in meta.items()})

    def _ready(self, keys: Embeddings) -> None:
        fresh = "z" not in self.stored
        self.ready_for(keys)
        if fresh and self.initial == "random":
            # The same in every process.
            drawn = torch.randn(self.z.shape, generator=torch.Generator().manual_seed(0))
            self.z.copy_(F.normalize(drawn, dim=1))
            self.columns[self.column].copy_(torch.arange(self.room))
            self.filled = self.room

    def _seen(self) -> Tensor:
        return self.columns[self.column] >= 0

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        self.filled = int(self._seen().sum()) if self.stored else 0
