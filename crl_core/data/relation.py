"""Which keys are positive and which negative for a query: an algebra over columns of metadata.

    positive = same("instance") & ~same("row")
    negative = same("clip") & beyond("time", 10)

A relation prints as it is written, and `parse` (in `parsing.py`) reads the text back. It is computed for any
block of queries and keys, so no mask of all pairs has to exist. A soft relation also gives each positive a
weight among the positives of its query.

    positive = near("age", 5) & ~same("row")
    positive = same("label") & weighted("confidence") & ~same("row")

(The similarity distribution of Le-Khac et al. 2020, definition 2.)
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs

from ..errors import CrlError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

Columns = Mapping[str, "Tensor"]


class RelationError(CrlError):
    """A relation that can't be read, or that reads a column that the rows don't have."""


@attrs.frozen
class Relation:
    """A rule that holds for a pair of a query and a key, or doesn't, by their columns."""

    def __and__(self, other: Relation) -> Relation:
        return And(self, other)

    def __or__(self, other: Relation) -> Relation:
        return Or(self, other)

    def __invert__(self) -> Relation:
        return Not(self)

    def __bool__(self) -> bool:
        # Without this error, `a and b` would be `b`.
        raise RelationError("a relation has no truth value: combine with &, | and ~, not with and, or, not")

    @property
    def soft(self) -> bool:
        """Whether it has weights."""
        return False

    @property
    def mutual(self) -> bool:
        """Whether it holds for (a, b) whenever it holds for (b, a), if both sides have the same columns."""
        return False

    def weights(self, query: Columns, key: Columns) -> Tensor | float:
        """The weight, above 0, of each pair for which it holds; in the shape of `__call__`, or 1 for all."""
        return 1.0

    def columns(self) -> frozenset[str]:
        """The names of the columns that it reads."""
        raise NotImplementedError

    def __call__(self, query: Columns, key: Columns) -> Tensor:
        """Whether it holds, a bool tensor in the shape to which the columns of query and key broadcast.

        Columns `[N, 1]` against `[M]` give `[N, M]`; `[N, K]` against `[N, K]` give `[N, K]`.
        """
        raise NotImplementedError


def column_of(name: str, relation: Relation, query: Columns, key: Columns) -> tuple[Tensor, Tensor]:
    """The column that `relation` reads, for query and key.

    Raises:
        RelationError: one side doesn't have it.
    """
    for side, columns in (("query", query), ("key", key)):
        if name not in columns:
            raise RelationError(
                f"{relation} reads column {name!r}, but the {side} rows have only "
                f"{', '.join(sorted(columns)) or 'no columns'}.{did_you_mean(name, columns)}"
            )
    return query[name], key[name]


@attrs.frozen
class OfColumn(Relation):
    """A relation that compares one column of the query with the same column of the key."""

    column: str

    @property
    def mutual(self) -> bool:
        return True

    def columns(self) -> frozenset[str]:
        return frozenset({self.column})


@attrs.frozen
class Same(OfColumn):
    """The same known value in `column`. A negative whole number means unknown, and equals nothing."""

    def __str__(self) -> str:
        return f"same({_quoted(self.column)})"

    def __call__(self, query: Columns, key: Columns) -> Tensor:
        a, b = column_of(self.column, self, query, key)
        equal = a == b
        return equal if a.is_floating_point() or b.is_floating_point() else equal & (a >= 0)


def _check_distance(distance: float) -> None:
    if not (math.isfinite(distance) and distance >= 0):
        raise RelationError(f"a distance is a finite number, at least 0, not {distance!r}")


@attrs.frozen
class Within(OfColumn):
    """`column` differs by at most `distance`."""

    distance: float

    def __attrs_post_init__(self) -> None:
        _check_distance(self.distance)

    def __str__(self) -> str:
        return f"within({_quoted(self.column)}, {self.distance!r})"

    def __call__(self, query: Columns, key: Columns) -> Tensor:
        a, b = column_of(self.column, self, query, key)
        return (a - b).abs() <= self.distance


@attrs.frozen
class Beyond(OfColumn):
    """`column` differs by more than `distance`."""

    distance: float

    def __attrs_post_init__(self) -> None:
        _check_distance(self.distance)

    def __str__(self) -> str:
        return f"beyond({_quoted(self.column)}, {self.distance!r})"

    def __call__(self, query: Columns, key: Columns) -> Tensor:
        a, b = column_of(self.column, self, query, key)
        return (a - b).abs() > self.distance


@attrs.frozen
class Soft(OfColumn):
    """A relation that has weights."""

    @property
    def soft(self) -> bool:
        return True


@attrs.frozen
class Near(Soft):
    """All pairs, with the weight exp(-½ (difference in `column` / width)²), unless that rounds to 0."""

    width: float

    def __attrs_post_init__(self) -> None:
        _check_distance(self.width)
        if not self.width:
            raise RelationError("a width is above 0; for equal values, use `same`")

    def __str__(self) -> str:
        return f"near({_quoted(self.column)}, {self.width!r})"

    def weights(self, query: Columns, key: Columns) -> Tensor:
        a, b = column_of(self.column, self, query, key)
        return (-((a - b) / self.width).square() / 2).exp()

    def __call__(self, query: Columns, key: Columns) -> Tensor:
        return self.weights(query, key) > 0


@attrs.frozen
class Weighted(Soft):
    """Pairs whose two numbers in `column` are above 0; the weight is their product."""

    def __str__(self) -> str:
        return f"weighted({_quoted(self.column)})"

    def weights(self, query: Columns, key: Columns) -> Tensor:
        a, b = column_of(self.column, self, query, key)
        return a * b

    def __call__(self, query: Columns, key: Columns) -> Tensor:
        a, b = column_of(self.column, self, query, key)
        return (a > 0) & (b > 0)


@attrs.frozen
class OfTwo(Relation):
    """Two relations in one, which is soft if either is."""

    left: Relation
    right: Relation

    def columns(self) -> frozenset[str]:
        return self.left.columns() | self.right.columns()

    @property
    def soft(self) -> bool:
        return self.left.soft or self.right.soft

    @property
    def mutual(self) -> bool:
        return self.left.mutual and self.right.mutual


@attrs.frozen
class And(OfTwo):
    """Pairs for which both relations hold."""

    def __str__(self) -> str:
        # `&` binds tighter than `|` and groups to the left.
        left = f"({self.left})" if isinstance(self.left, Or) else f"{self.left}"
        right = f"({self.right})" if isinstance(self.right, (Or, And)) else f"{self.right}"
        return f"{left} & {right}"

    def weights(self, query: Columns, key: Columns) -> Tensor | float:
        return self.left.weights(query, key) * self.right.weights(query, key)

    def __call__(self, query: Columns, key: Columns) -> Tensor:
        return self.left(query, key) & self.right(query, key)


@attrs.frozen
class Or(OfTwo):
    """Pairs for which either relation holds."""

    def __str__(self) -> str:
        right = f"({self.right})" if isinstance(self.right, Or) else f"{self.right}"
        return f"{self.left} | {right}"

    def weights(self, query: Columns, key: Columns) -> Tensor | float:
        left, right = (side(query, key) * side.weights(query, key) for side in (self.left, self.right))
        return left.maximum(right)

    def __call__(self, query: Columns, key: Columns) -> Tensor:
        return self.left(query, key) | self.right(query, key)


@attrs.frozen
class Not(Relation):
    """Pairs for which a relation doesn't hold."""

    of: Relation

    @property
    def mutual(self) -> bool:
        return self.of.mutual

    def __str__(self) -> str:
        return f"~({self.of})" if isinstance(self.of, (And, Or)) else f"~{self.of}"

    def columns(self) -> frozenset[str]:
        return self.of.columns()

    def __call__(self, query: Columns, key: Columns) -> Tensor:
        return ~self.of(query, key)


def same(column: str) -> Relation:
    """Pairs with the same known value in `column`.

    >>> import torch
    >>> import crl_core as crl
    >>> query, key = {"label": torch.tensor([[0], [-1]])}, {"label": torch.tensor([0, 1, -1])}
    >>> crl.same("label")(query, key).tolist()  # a negative number is unknown, and equals nothing
    [[True, False, False], [False, False, False]]
    """
    return Same(column)


def within(column: str, distance: float) -> Relation:
    """Pairs whose `column` differs by at most `distance`.

    >>> import torch
    >>> import crl_core as crl
    >>> crl.within("time", 2)({"time": torch.tensor([[0]])}, {"time": torch.tensor([0, 2, 5])}).tolist()
    [[True, True, False]]
    """
    return Within(column, distance)


def beyond(column: str, distance: float) -> Relation:
    """Pairs whose `column` differs by more than `distance`.

    >>> import torch
    >>> import crl_core as crl
    >>> crl.beyond("time", 2)({"time": torch.tensor([[0]])}, {"time": torch.tensor([0, 2, 5])}).tolist()
    [[False, False, True]]
    """
    return Beyond(column, distance)


def near(column: str, width: float) -> Relation:
    """All pairs with known values, weighted by a Gaussian of their difference in `column` (Dufumier et al. 2021).

    >>> import torch
    >>> import crl_core as crl
    >>> crl.near("age", 5).weights({"age": torch.tensor([[40.0]])}, {"age": torch.tensor([40.0, 45.0])})  # width 5
    tensor([[1.0000, 0.6065]])
    """
    return Near(column, width)


def weighted(column: str) -> Relation:
    """Pairs weighted by the product of both rows' numbers in `column`, such as how certain their labels are.

    >>> import torch
    >>> import crl_core as crl
    >>> crl.weighted("sure").weights({"sure": torch.tensor([[0.5]])}, {"sure": torch.tensor([1.0, 0.5])})
    tensor([[0.5000, 0.2500]])
    """
    return Weighted(column)


def _quoted(name: str) -> str:
    # JSON's strings are Python's too, in the double quotes that people write.
    return json.dumps(name, ensure_ascii=False)
