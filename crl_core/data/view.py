"""The data that parts pass on: views of a batch, and tables of embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import attrs
import torch
from torch import Tensor

from ..errors import CrlError
from .rows import join_rows, move_rows, row_count, take_rows


@attrs.define(eq=False)  # not frozen, which torch.compile can't follow, nor a dataclass, which Lightning would copy
class View:
    """One view of a batch: what an encoder takes, and columns of metadata for its N rows.

    >>> import torch
    >>> import crl_core as crl
    >>> view = crl.View(torch.randn(3, 4), {"label": torch.tensor([5, 6, 7])})
    >>> len(view), view.take(torch.tensor([2, 0])).meta["label"]
    (3, tensor([7, 5]))

    Attributes:
        data: a tensor `[N, …]`, packed tokens, a graph batch, a mapping of these, or a list of N raw items; see
            `crl_core/data/rows.py`.
        meta: columns `[N]`, or `[N, L]` if a row has L parts (frames, positions).
            `instance` (whole numbers) is the number of the item in the source; other columns depend
            on the data: `label`, `time`, `clip`, `node`. In whole numbers, negative means unknown.
        source: the name of the batch's source, if a run has several.
    """

    data: Any
    meta: Mapping[str, Tensor] = attrs.field(factory=dict)
    source: str | None = None

    def __len__(self) -> int:
        return len(next(iter(self.meta.values()))) if self.meta else row_count(self.data)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> View:
        data = move_rows(self.data, device, non_blocking)
        return View(data, move_rows(self.meta, device, non_blocking), self.source)

    def take(self, index: Tensor | slice) -> View:
        """Some rows: by their numbers `[n]`, by a bool `[N]`, or by a slice."""
        meta = {name: take_rows(column, index) for name, column in self.meta.items()}
        return View(take_rows(self.data, index), meta, self.source)

    @staticmethod
    def join(views: Sequence[View]) -> View:
        """The rows of all views, one below the other, with the columns that all of them have.

        Raises:
            CrlError: their data can't be joined.
        """
        if len(views) == 1:
            return views[0]
        data = join_rows([view.data for view in views])
        return View(data, _shared([view.meta for view in views]), views[0].source)


Views: TypeAlias = Mapping[str, View]


class SameView(dict[str, View]):
    """One clean view under the names of all views of a sampler: an encoder of several views reads it once.

    Drawn views may also have the same data (in SimCSE, only dropout makes them different), but each is encoded.
    """


def _shared(tables: Sequence[Mapping[str, Tensor]], dim: int = 0) -> dict[str, Tensor]:
    """The columns that all tables have, one below the other."""
    shared = [name for name in tables[0] if all(name in table for table in tables)]
    return {name: torch.cat([table[name] for table in tables], dim) for name in shared}


@attrs.define(eq=False)
class Embeddings:
    """A table of vectors with the metadata of every row.

    >>> import torch
    >>> import crl_core as crl
    >>> table = crl.Embeddings(torch.randn(2, 3, 8), {"clip": torch.tensor([4, 9])}).rows()
    >>> table.z.shape, table.meta["clip"], table.meta["position"]
    (torch.Size([6, 8]), tensor([4, 4, 4, 9, 9, 9]), tensor([0, 1, 2, 0, 1, 2]))

    Attributes:
        z: `[N, D]`, or `[N, L, D]` (and deeper) for local features, until `rows` flattens them.
        meta: columns whose shape is a prefix of `z.shape[:-1]`. The bool column `valid` marks
            rows that count; it is False for padding, and for positions that are not asked for.
        features: other results of the encoder and the head, by name, for other heads and penalties.
    """

    z: Tensor
    meta: Mapping[str, Tensor] = attrs.field(factory=dict)
    features: Mapping[str, Tensor] = attrs.field(factory=dict)

    def __len__(self) -> int:
        return self.z.shape[0]

    def rows(self) -> Embeddings:
        """The same table flat, `[R, D]`, with columns `[R]` and without the invalid rows.

        Local features get the column `position`, 0 … L-1, unless they have one.

        Raises:
            CrlError: a column's shape doesn't fit.
        """
        shape = self.z.shape[:-1]
        if len(shape) == 1 and "valid" not in self.meta and all(c.shape == shape for c in self.meta.values()):
            return self  # the usual case: for small batches, the rest would cost time in every step
        meta = dict(self.meta)
        if len(shape) == 2:
            meta.setdefault("position", torch.arange(shape[1], device=self.z.device).expand(shape))
        flat = {name: _flat(name, column, shape) for name, column in meta.items()}
        z = self.z.reshape(-1, self.z.shape[-1])
        valid = flat.pop("valid", None)
        if valid is not None:
            z, flat = z[valid], {name: column[valid] for name, column in flat.items()}
        return Embeddings(z, flat, self.features)

    @staticmethod
    def concat(tables: Sequence[Embeddings], dim: int = 0) -> Embeddings:
        """Tables joined along `dim`, by default one below the other, with the columns that all of them have."""
        if len(tables) == 1:
            return tables[0]
        return Embeddings(torch.cat([table.z for table in tables], dim), _shared([table.meta for table in tables], dim))

    def mean(self) -> Tensor:
        """`[N, D]`, the mean of each row's local features over the positions that are `valid`.

        A row without a valid position is zeros. Embeddings `[N, D]` are returned unchanged.

        >>> import torch
        >>> valid = torch.tensor([[True, False]])
        >>> Embeddings(torch.tensor([[[1.0, 3.0], [9.0, 9.0]]]), {"valid": valid}).mean()
        tensor([[1., 3.]])
        """
        if self.z.dim() == 2:
            return self.z
        z = self.z.flatten(1, -2)
        if "valid" not in self.meta:
            return z.mean(1)
        valid = _flat("valid", self.meta["valid"], self.z.shape[:-1]).view(z.shape[:2]).unsqueeze(-1)
        total = torch.where(valid, z, z.new_zeros(())).sum(1)  # padding may be anything, even NaN
        return total / valid.sum(1).clamp(min=1)


def _flat(name: str, column: Tensor, shape: torch.Size) -> Tensor:
    """`column`, repeated over the dimensions of `shape` that it doesn't have, flat."""
    if column.shape != shape[: column.dim()]:
        raise CrlError(
            f"the column {name!r} has shape {list(column.shape)}, but the embeddings' rows have shape {list(shape)}: "
            f"a column's shape is the rows' shape or the start of it"
        )
    return column.reshape(column.shape + (1,) * (len(shape) - column.dim())).expand(shape).reshape(-1)
