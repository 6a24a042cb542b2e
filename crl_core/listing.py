"""The pairs for which a relation holds, as a list, found by sorting columns instead of by trying all pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .relation import And, Beyond, Columns, Not, Or, Relation, Same, Within, column_of


class Listed(NamedTuple):
    """Pairs, sorted by row: those for which a relation holds, or with `but` those for which it doesn't."""

    row: Tensor
    column: Tensor
    but: bool

    def keep(self, which: Tensor) -> Listed:
        return Listed(self.row[which], self.column[which], self.but)

    def reversed(self) -> Listed:
        """The same pairs with rows and columns exchanged."""
        order = self.column.argsort(stable=True)
        return Listed(self.column[order], self.row[order], self.but)


def listed(relation: Relation, query: Columns, key: Columns, most: int) -> Listed | None:
    """The list of a relation between queries and shared keys with these columns `[N]` and `[M]`.

    None where it has more than `most` pairs, as has what it leaves out, or where no way to find them
    by sorting is known.
    """
    match relation:
        case Same(column=name):
            return _join(*column_of(name, relation, query, key), 0, most)
        case Within(column=name, distance=distance):
            return _join(*column_of(name, relation, query, key), distance, most)
        case Beyond(column=name, distance=distance) if not query[name].is_floating_point():
            return _negated(listed(Within(name, distance), query, key, most))
        case Not(of=inner):
            return _negated(listed(inner, query, key, most))
        case Or(left=left, right=right):
            return _negated(listed(And(Not(left), Not(right)), query, key, most))
        case And(left=left, right=right):
            return _both(left, right, query, key, most)
    return None


def _negated(found: Listed | None) -> Listed | None:
    return None if found is None else found._replace(but=not found.but)


def _both(left: Relation, right: Relation, query: Columns, key: Columns, most: int) -> Listed | None:
    first, second = listed(left, query, key, most), listed(right, query, key, most)
    for few, other in ((first, right), (second, left)):
        if few is not None and not few.but:
            return few.keep(_holds(other, query, key)(few.row, few.column))
    if first is None or second is None:
        return None
    return _union(first, second, len(next(iter(key.values()))))


def _holds(relation: Relation, query: Columns, key: Columns) -> Callable[[Tensor, Tensor], Tensor]:
    names = relation.columns()

    def ask(row: Tensor, column: Tensor) -> Tensor:
        return relation({name: query[name][row] for name in names}, {name: key[name][column] for name in names})

    return ask


def _union(one: Listed, other: Listed, width: int) -> Listed:
    """All pairs but those of either list."""
    if not len(one.row) or not len(other.row):
        return one if len(one.row) else other
    place = torch.unique(torch.cat([one.row * width + one.column, other.row * width + other.column]))
    return Listed(place // width, place % width, True)


def _join(query: Tensor, key: Tensor, distance: float, most: int) -> Listed | None:
    """Pairs whose values differ by at most `distance`; negative whole numbers equal nothing where it is 0."""
    if key.is_floating_point() != query.is_floating_point() or (key.is_floating_point() and distance):
        return None  # rounding at the edges would have to be that of the relation itself
    nothing = query.new_zeros(0, dtype=torch.int64)
    if not len(query) or not len(key):
        return Listed(nothing, nothing, False)
    if len(query) * len(key) > most and _constant(query) and _constant(key):
        # All or none, such as the number of the batch: no long list.
        unknown = not distance and not query.is_floating_point() and bool(query[0] < 0)
        holds = not unknown and bool((query[0] - key[0]).abs() <= distance)
        return Listed(nothing, nothing, holds)
    values, order = key.sort()
    low, high = (query, query) if not distance else (query - int(distance), query + int(distance))
    start, stop = torch.searchsorted(values, low), torch.searchsorted(values, high, right=True)
    count = stop - start
    if not distance and not query.is_floating_point():
        count = count.masked_fill(query < 0, 0)
    total = int(count.sum())
    if total > most:
        return None
    row = torch.arange(len(query), device=query.device).repeat_interleave(count, output_size=total)
    within = torch.arange(total, device=query.device) - (count.cumsum(0) - count)[row]
    return Listed(row, order[start[row] + within], False)


def _constant(column: Tensor) -> bool:
    return bool((column == column[0]).all())
