"""Relations as programs over intervals of whole numbers, which a kernel can compute on a tile.

Each `same` or `within` is an **atom**. The keys are sorted by its column. The partners of a query, which are the keys
for which the atom holds, are then the keys from `low` up to `high` in this order, and a kernel only compares the rank
of a key with these two numbers. torch handles unknown values, types and rounding here, as in the relation itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import attrs
import torch
from torch import Tensor

from ..data.relation import And, Beyond, Columns, Not, Or, Relation, Same, Within, column_of

AND, OR, NOT = -1, -2, -3  # words of a program; a word of at least 0 is the number of an atom
MOST = 8  # the highest number of atoms; each needs registers
_NEVER = torch.iinfo(torch.int32).max  # the rank of a key that is no partner of any query

Program = tuple[int, ...]


class Unprogrammable(Exception):
    """A relation that can't be written as a program."""


@attrs.frozen
class _Valid(Relation):
    """Pairs of two rows that are both `valid`."""


@attrs.frozen
class _Numbers(Relation):
    """Pairs of two numbers that aren't NaN: for NaN, neither beyond nor within holds."""

    column: str


class Programs(NamedTuple):
    """Both relations as postfix programs over the same atoms."""

    atoms: tuple[Relation, ...]
    positive: Program
    negative: Program


def programs(positive: Relation, negative: Relation, query: Columns, key: Columns) -> Programs:
    """The relations between rows with these columns, as programs.

    Raises:
        Unprogrammable: there are too many atoms, or a relation of an unknown kind.
    """
    atoms: dict[Relation, int] = {}
    found = []
    for relation in (positive, negative):
        program = _program(relation, atoms, query, key)
        if "valid" in query or "valid" in key:
            program += (_number(_Valid(), atoms), AND)
        found.append(program)
    if len(atoms) > MOST:
        raise Unprogrammable(f"positive and negative have {len(atoms)} comparisons; a kernel takes at most {MOST}")
    return Programs(tuple(atoms), *found)


def _program(relation: Relation, atoms: dict[Relation, int], query: Columns, key: Columns) -> Program:
    match relation:
        case Same() | Within():
            return (_number(relation, atoms),)
        case Beyond(column=name, distance=distance):
            opposite = (_number(Within(name, distance), atoms), NOT)
            if not any(column.is_floating_point() for column in column_of(name, relation, query, key)):
                return opposite
            return (*opposite, _number(_Numbers(name), atoms), AND)
        case Not(of=inner):
            return (*_program(inner, atoms, query, key), NOT)
        case And(left=left, right=right) | Or(left=left, right=right):
            sides = _program(left, atoms, query, key) + _program(right, atoms, query, key)
            return (*sides, AND if isinstance(relation, And) else OR)
    raise Unprogrammable(f"{relation} is not made of same, within and beyond")


def _number(atom: Relation, atoms: dict[Relation, int]) -> int:
    return atoms.setdefault(atom, len(atoms))


class Ordered(NamedTuple):
    """For each atom, the interval of each row `[atoms, n]` and the rank of each column `[atoms, m]`."""

    low: Tensor
    high: Tensor
    rank: Tensor


def ordered(atoms: tuple[Relation, ...], query: Columns, key: Columns) -> Ordered:
    """The atoms between rows with these columns. All are symmetric, so query and key may be exchanged."""
    found = [_ordered(atom, query, key) for atom in atoms]
    return Ordered(*(torch.stack(vectors).int() for vectors in zip(*found, strict=True)))


def _ordered(atom: Relation, query: Columns, key: Columns) -> Ordered:
    match atom:
        case Same(column=name):
            return _near(*_columns(name, atom, query, key), None)
        case Within(column=name, distance=distance):
            return _near(*_columns(name, atom, query, key), distance)
        case _Numbers(column=name):
            return _both(*(~column.isnan() for column in _columns(name, atom, query, key)))
    return _both(*(_valid(columns) for columns in (query, key)))


def _columns(name: str, atom: Relation, query: Columns, key: Columns) -> tuple[Tensor, Tensor]:
    """The column of both sides, in one type."""
    one, other = column_of(name, atom, query, key)
    common = torch.promote_types(one.dtype, other.dtype)
    common = common if common.is_floating_point else torch.int64
    return one.to(common), other.to(common)


def _valid(columns: Columns) -> Tensor:
    if "valid" in columns:
        return columns["valid"]
    return torch.ones_like(next(iter(columns.values())), dtype=torch.bool)


def _both(query: Tensor, key: Tensor) -> Ordered:
    return Ordered(torch.zeros_like(query, dtype=torch.int64), query.long(), (~key).long())


def _near(query: Tensor, key: Tensor, distance: float | None) -> Ordered:
    """Pairs whose values differ by at most `distance`; without a distance, pairs with the same known value."""
    nothing, never = query.isnan(), key.isnan()
    key = key.masked_fill(never, math.inf) if key.is_floating_point() else key
    values, order = key.sort()
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    if distance is None:
        nothing = nothing if query.is_floating_point() else query < 0
        low, high = torch.searchsorted(values, query), torch.searchsorted(values, query, right=True)
    elif query.is_floating_point():
        # The same arithmetic as in the relation, because rounding matters at the edges.
        low = _first(values, len(query), lambda value: query - value <= distance)
        high = _first(values, len(query), lambda value: query - value < -distance)
    else:
        reach = int(distance)
        low = torch.searchsorted(values, query - reach)
        high = torch.searchsorted(values, query + reach, right=True)
    return Ordered(low, torch.where(nothing, low, high), rank.masked_fill(never, _NEVER))


def _first(values: Tensor, count: int, holds: Callable[[Tensor], Tensor]) -> Tensor:
    """For each query, the first of the sorted values for which it holds; it also holds for all later values."""
    low = torch.zeros(count, dtype=torch.int64, device=values.device)
    high = torch.full_like(low, len(values))
    for _ in range(len(values).bit_length()):
        middle = (low + high) // 2
        found = holds(values[middle.clamp(max=len(values) - 1)])
        low, high = torch.where(found | (low == high), low, middle + 1), torch.where(found, middle, high)
    return low
