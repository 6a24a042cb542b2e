"""Items in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..data.rows import row_count, take_rows
from ..data.view import View
from ..errors import CrlError


class InMemory:
    """Items in memory: data with N rows, and columns `[N]` or `[N, L]`.

    >>> import torch
    >>> import crl_core as crl
    >>> items = crl.InMemory({"ids": torch.arange(6).view(3, 2)}, {"label": torch.tensor([0, 1, 1])})
    >>> items.__getitems__([2, 0]).meta["label"]
    tensor([1, 0])

    Args:
        data: a tensor `[N, …]`, a mapping of these, or a list of N items.
        columns: columns by name. The column `instance`, the number of the item, is added.

    Raises:
        CrlError: there are no rows, or a column has another number of rows.
    """

    def __init__(self, data: Any, columns: Mapping[str, Tensor] | None = None) -> None:
        self.data = data
        self._count = row_count(data)
        self.columns = {"instance": torch.arange(self._count), **(columns or {})}
        if not self._count:
            raise CrlError("there are no items")
        for name, column in self.columns.items():
            if not column.dim() or len(column) != self._count:
                raise CrlError(f"the column {name!r} has shape {list(column.shape)}, and there are {self._count} items")

    def __len__(self) -> int:
        return self._count

    def __getitems__(self, indices: list[int]) -> View:
        index = torch.tensor(indices, dtype=torch.int64)
        return View(take_rows(self.data, index), {name: column[index] for name, column in self.columns.items()})
