"""What is swept in strips or tiles, and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...listing import Listed
from .formula import Asked, LossOfScores

SAFE = 60.0  # exp of scores up to this neither overflows nor vanishes in float32, also in sums of millions


class Task(NamedTuple):
    """What is swept: factors of the scores, and the candidates of every block of keys as lists.

    Attributes:
        query, keys: `[N, D]` and blocks `[M, D]`, in at least float32.
        lists: for every block, its positives and its negatives.
            A block that is the very tensor of the queries shares its gradient.
        asked: the reductions over those negatives whose list says which are left out.
    """

    loss: LossOfScores
    query: Tensor
    keys: Sequence[Tensor]
    lists: Sequence[tuple[Listed, Listed]]
    asked: Sequence[Asked]

    def gradients(self, wanted: Sequence[bool]) -> tuple[Tensor | None, list[Tensor | None]]:
        """Zeros for the query's gradient and for each block's; None where it isn't wanted."""
        d_query = torch.zeros_like(self.query) if wanted[0] else None
        return d_query, [
            d_query if key is self.query else torch.zeros_like(key) if want else None
            for key, want in zip(self.keys, wanted[1:], strict=True)
        ]

    def reversed(self) -> Task:
        """The keys as queries, and the queries as keys."""
        ((positive, negative),) = self.lists
        return self._replace(query=self.keys[0], keys=[self.query], lists=[(positive.reversed(), negative.reversed())])


class Swept(NamedTuple):
    """The loss of every query, its terms, whether it counts, and the gradient of the sum; None where unwanted."""

    values: Tensor
    terms: Tensor
    counted: Tensor
    d_query: Tensor | None
    d_keys: list[Tensor | None]

    def joined(self, back: Swept) -> Swept:
        """With what a sweep in the other direction found: its queries follow, and the gradients add up."""
        pairs = ((self.d_query, back.d_keys[0]), (self.d_keys[0], back.d_query))
        d_query, d_key = (None if one is None or other is None else one + other for one, other in pairs)
        values, terms, counted = (torch.cat(two) for two in zip(self[:3], back[:3], strict=True))
        return Swept(values, terms, counted, d_query, [d_key])


def push_pairs(
    slope: Tensor, query: Tensor, key: Tensor, row: Tensor, column: Tensor, onto: Swept, rows: slice, block: int
) -> None:
    """Adds the gradient of listed scores, whose slopes are `slope` `[P]`."""
    slope = slope.unsqueeze(1)
    if onto.d_query is not None:
        onto.d_query[rows].index_add_(0, row, key[column] * slope)
    if (d_key := onto.d_keys[block]) is not None:
        d_key.index_add_(0, column, query[row] * slope)


def highest(query: Tensor, keys: Sequence[Tensor]) -> float:
    """No score is higher than this, nor lower than its negative."""
    lengths = [float(torch.linalg.vector_norm(rows, dim=1).max()) if len(rows) else 0.0 for rows in (query, *keys)]
    return lengths[0] * max(lengths[1:], default=0.0)
