"""The pairs for which a relation holds, as a list, found by sorting columns instead of trying all pairs."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .relation import And, Beyond, Columns, Not, Or, Relation, Same, Within, column_of

_FEW = 1 << 14  # up to so many pairs, trying all is faster than sorting


class PairList(NamedTuple):
    """Pairs, sorted by row, for which a relation holds; or, if `complement` is True, for which it doesn't."""

    row: Tensor
    column: Tensor
    complement: bool
    weight: Tensor | None = None
    """The weight of each pair, if the relation is soft."""

    def keep(self, which: Tensor) -> PairList:
        return PairList(self.row[which], self.column[which], self.complement)

    def negated(self) -> PairList:
        return self._replace(complement=not self.complement)

    def reversed(self) -> PairList:
        """The same pairs with rows and columns exchanged."""
        order = self.column.argsort(stable=True)
        return PairList(
            self.column[order], self.row[order], self.complement, None if self.weight is None else self.weight[order]
        )


class Lister:
    """Lists relations between queries and shared keys with these columns, `[N]` and `[M]`.

    Args:
        most: the longest list. If a relation holds for more pairs, and doesn't hold for more pairs too, it has no list.
    """

    def __init__(self, query: Columns, key: Columns, most: int) -> None:
        self.query, self.key, self.most = query, key, most
        self._joined: dict[tuple[str, float], PairList | None] = {}

    def list(self, relation: Relation) -> PairList | None:
        """The pairs of a relation; None if there are too many, or if they can't be found by sorting."""
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

    def _not(self, relation: Relation) -> PairList | None:
        pairs = self.list(relation)
        return None if pairs is None else pairs.negated()

    def _both(self, left: Relation, right: Relation) -> PairList | None:
        all_but = []
        for one, other in ((left, right), (right, left)):
            pairs = self.list(one)
            if pairs is not None and not pairs.complement:
                return pairs.keep(self._holds(other, pairs)) if len(pairs.row) else pairs
            all_but.append(pairs)
        first, second = all_but
        return None if first is None or second is None else self._union(first, second)

    def weigh(self, relation: Relation, pairs: PairList | None) -> PairList | None:
        """The same list, with the weights that a soft relation gives its pairs."""
        if not relation.soft or pairs is None or pairs.complement:
            return pairs
        weight = relation.weights(*self._columns(relation, pairs))
        return pairs._replace(weight=weight if isinstance(weight, Tensor) else None)

    def _holds(self, relation: Relation, pairs: PairList) -> Tensor:
        return relation(*self._columns(relation, pairs))

    def _columns(self, relation: Relation, pairs: PairList) -> tuple[Columns, Columns]:
        """The columns that the relation reads, for both sides of each pair."""
        names = relation.columns()
        return (
            {name: self.query[name][pairs.row] for name in names if name in self.query},
            {name: self.key[name][pairs.column] for name in names if name in self.key},
        )

    def _union(self, one: PairList, other: PairList) -> PairList:
        """Both lists have the pairs for which a relation fails. The union: the pairs for which one of them fails."""
        if not len(one.row) or not len(other.row):
            return one if len(one.row) else other
        width = len(next(iter(self.key.values())))
        place = torch.unique(torch.cat([one.row * width + one.column, other.row * width + other.column]))
        return PairList(place // width, place % width, True)

    def _join(self, name: str, distance: float, relation: Relation) -> PairList | None:
        if (name, distance) not in self._joined:
            columns = column_of(name, relation, self.query, self.key)
            few = len(columns[0]) * len(columns[1]) <= _FEW
            pairs = self._tried(relation) if few else _join(*columns, distance, self.most)
            self._joined[name, distance] = pairs
        return self._joined[name, distance]

    def _tried(self, relation: Relation) -> PairList | None:
        """The list by trying all pairs: for few pairs, this is faster than sorting."""
        (name,) = relation.columns()
        row, column = relation({name: self.query[name].unsqueeze(1)}, self.key).nonzero(as_tuple=True)
        return PairList(row, column, False) if len(row) <= self.most else None


def _join(query: Tensor, key: Tensor, distance: float, most: int) -> PairList | None:
    """Pairs whose values differ by at most `distance`. With distance 0, negative whole numbers equal nothing."""
    floating = query.is_floating_point() or key.is_floating_point()
    if floating and (distance or query.dtype != key.dtype or bool(key.isnan().any())):
        return None  # sorting would round differently from the relation, and NaN has no place in an order
    nothing = query.new_zeros(0, dtype=torch.int64)
    if not len(query) or not len(key):
        return PairList(nothing, nothing, False)
    if len(query) * len(key) > most and _constant(query) and _constant(key):
        # The relation holds for all pairs or for none, as for the column `batch`: no long list.
        unknown = not distance and not floating and bool(query[0] < 0)
        holds = not unknown and bool((query[0] - key[0]).abs() <= distance)
        return PairList(nothing, nothing, holds)
    values, order = key.sort()
    alike = query.dtype == key.dtype and not distance and not floating and torch.equal(query, key)
    if alike and _rising(values):
        place = torch.arange(len(query), device=query.device)
        return PairList(place, place, False)  # row i with row i, as in two views of the same items
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
    return PairList(row, order[start[row] + within], False)


def _rising(values: Tensor) -> bool:
    """Whether all values are known, and no value occurs twice."""
    return bool(values[0] >= 0) and bool((values[1:] > values[:-1]).all())


def _constant(column: Tensor) -> bool:
    return bool((column == column[0]).all())
