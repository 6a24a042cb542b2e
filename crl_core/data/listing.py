"""The pairs for which a relation holds, as a list, found by sorting columns instead of by trying all pairs."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .relation import And, Beyond, Columns, Not, Or, Relation, Same, Within, column_of

_FEW = 1 << 14  # pairs that are quicker tried than sorted


class Listed(NamedTuple):
    """Pairs, sorted by row: those for which a relation holds, or with `but` those for which it doesn't."""

    row: Tensor
    column: Tensor
    but: bool
    weight: Tensor | None = None
    """Of every pair, where the relation is soft."""

    def keep(self, which: Tensor) -> Listed:
        return Listed(self.row[which], self.column[which], self.but)

    def negated(self) -> Listed:
        return self._replace(but=not self.but)

    def reversed(self) -> Listed:
        """The same pairs with rows and columns exchanged."""
        order = self.column.argsort(stable=True)
        return Listed(
            self.column[order], self.row[order], self.but, None if self.weight is None else self.weight[order]
        )


class Lister:
    """Lists relations between queries and shared keys with these columns, `[N]` and `[M]`.

    Args:
        most: pairs in a list; a relation that has more, as has what it leaves out, has no list.
    """

    def __init__(self, query: Columns, key: Columns, most: int) -> None:
        self.query, self.key, self.most = query, key, most
        self._joined: dict[tuple[str, float], Listed | None] = {}

    def list(self, relation: Relation) -> Listed | None:
        """None where there are too many pairs, or where no way to find them by sorting is known."""
        match relation:
            case Same(column=name):
                return self._join(name, 0, relation)
            case Within(column=name, distance=distance):
                return self._join(name, distance, relation)
            case Beyond(column=name, distance=distance):
                return self._not(Within(name, distance))
            case Not(of=inner):
                return self._not(inner)
            case And(left=left, right=right):
                return self._both(left, right)
            case Or(left=left, right=right):
                return self._not(And(Not(left), Not(right)))
        return None

    def _not(self, relation: Relation) -> Listed | None:
        found = self.list(relation)
        return None if found is None else found.negated()

    def _both(self, left: Relation, right: Relation) -> Listed | None:
        all_but = []
        for one, other in ((left, right), (right, left)):
            found = self.list(one)
            if found is not None and not found.but:
                return found.keep(self._holds(other, found)) if len(found.row) else found
            all_but.append(found)
        first, second = all_but
        return None if first is None or second is None else self._union(first, second)

    def weigh(self, relation: Relation, pairs: Listed | None) -> Listed | None:
        """The same list, with the weights that a soft relation gives its pairs."""
        if not relation.soft or pairs is None or pairs.but:
            return pairs
        weight = relation.weights(*self._columns(relation, pairs))
        return pairs._replace(weight=weight if isinstance(weight, Tensor) else None)

    def _holds(self, relation: Relation, pairs: Listed) -> Tensor:
        return relation(*self._columns(relation, pairs))

    def _columns(self, relation: Relation, pairs: Listed) -> tuple[Columns, Columns]:
        """The columns that it reads, of both sides of every pair."""
        names = relation.columns()
        return (
            {name: self.query[name][pairs.row] for name in names if name in self.query},
            {name: self.key[name][pairs.column] for name in names if name in self.key},
        )

    def _union(self, one: Listed, other: Listed) -> Listed:
        """All pairs but those of either list."""
        if not len(one.row) or not len(other.row):
            return one if len(one.row) else other
        width = len(next(iter(self.key.values())))
        place = torch.unique(torch.cat([one.row * width + one.column, other.row * width + other.column]))
        return Listed(place // width, place % width, True)

    def _join(self, name: str, distance: float, relation: Relation) -> Listed | None:
        if (name, distance) not in self._joined:
            columns = column_of(name, relation, self.query, self.key)
            few = len(columns[0]) * len(columns[1]) <= _FEW
            found = self._tried(relation) if few else _join(*columns, distance, self.most)
            self._joined[name, distance] = found
        return self._joined[name, distance]

    def _tried(self, relation: Relation) -> Listed | None:
        """By trying all pairs: where they are few, that is quicker than to sort."""
        (name,) = relation.columns()
        row, column = relation({name: self.query[name].unsqueeze(1)}, self.key).nonzero(as_tuple=True)
        return Listed(row, column, False) if len(row) <= self.most else None


def _join(query: Tensor, key: Tensor, distance: float, most: int) -> Listed | None:
    """Pairs whose values differ by at most `distance`; negative whole numbers equal nothing where it is 0."""
    floating = query.is_floating_point() or key.is_floating_point()
    if floating and (distance or query.dtype != key.dtype or bool(key.isnan().any())):
        return None  # rounding at the edges would have to be that of the relation; NaN has no place in an order
    nothing = query.new_zeros(0, dtype=torch.int64)
    if not len(query) or not len(key):
        return Listed(nothing, nothing, False)
    if len(query) * len(key) > most and _constant(query) and _constant(key):
        # All or none, such as the number of the batch: no long list.
        unknown = not distance and not floating and bool(query[0] < 0)
        holds = not unknown and bool((query[0] - key[0]).abs() <= distance)
        return Listed(nothing, nothing, holds)
    values, order = key.sort()
    alike = query.dtype == key.dtype and not distance and not floating and torch.equal(query, key)
    if alike and _rising(values):
        place = torch.arange(len(query), device=query.device)
        return Listed(place, place, False)  # each with itself, as in two views of the same items
    low, high = (query, query) if not distance else (query - int(distance), query + int(distance))
    start, stop = torch.searchsorted(values, low), torch.searchsorted(values, high, right=True)
    count = stop - start
    if not distance:
        count = count.masked_fill(query.isnan() if floating else query < 0, 0)
    total = int(count.sum())
    if total > most:
        return None
    row = torch.arange(len(query), device=query.device).repeat_interleave(count, output_size=total)
    within = torch.arange(total, device=query.device) - (count.cumsum(0) - count)[row]
    return Listed(row, order[start[row] + within], False)


def _rising(values: Tensor) -> bool:
    """Whether they are known, and none is there twice."""
    return bool(values[0] >= 0) and bool((values[1:] > values[:-1]).all())


def _constant(column: Tensor) -> bool:
    return bool((column == column[0]).all())
