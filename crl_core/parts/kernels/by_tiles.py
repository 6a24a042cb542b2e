"""Both directions: tiles that serve their rows and their columns, and above the diagonal alone where these are one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ...listing import Listed
from .formula import Few, both_sides, evaluate
from .task import SAFE, Swept, Task, exp_, highest, push_pairs

TILE = 512  # rows and columns of a tile
_LISTED = 1 << 11  # listed pairs at a time

Tile = tuple[slice, slice, Tensor]


def by_tiles(task: Task, wanted: Sequence[bool], same: bool) -> Swept:
    """Tiles that serve their rows and their columns, for a loss of one log-sum-exp over one block of keys.

    Two sweeps: the first makes the sums of all rows and columns, the second the gradient.

    Args:
        same: half of the tiles are enough, since the queries are the keys; otherwise the keys are queries too,
            and their losses follow those of the queries.
    """
    return _Tiles(task, wanted, same).run()


class _Tiles:
    def __init__(self, task: Task, wanted: Sequence[bool], same: bool) -> None:
        self.task, self.wanted, self.same = task, wanted, same
        self.query, self.key = task.query, task.keys[0]
        self.rows = _cuts(len(self.query), TILE)
        self.columns = _cuts(len(self.key), TILE)
        self.first = 0 if same else len(self.query)  # where the columns' vectors begin
        self.room = self.query.new_empty(min(TILE, len(self.query)) * min(TILE, len(self.key)))
        self.safe = highest(self.query, task.keys) <= SAFE
        self.kept: list[Tile] = []  # a tile that is the only one needn't be made twice

    def run(self) -> Swept:
        (positive, negative), count = self.task.lists[0], self.first + len(self.key)
        self.out = negative
        bounds = torch.tensor([*(rows.start for rows in self.rows), len(self.query)], device=negative.row.device)
        self.ends = torch.searchsorted(negative.row, bounds).tolist()
        lse = self._sums(count)
        values = _products(self.query, self.key, positive)
        if self.same:
            few = Few(positive.row, values, count, harmless=True, column=positive.column, weight=positive.weight)
        else:
            few = both_sides(positive, values, len(self.query), len(self.key))
        found = evaluate(self.task.loss, few, None, [lse])
        swept = Swept(found.values, found.terms, found.counted, *self.task.gradients(self.wanted))
        d_query, (d_key,) = swept.d_query, swept.d_keys
        if d_query is not None or d_key is not None:
            self._push(found.reduced[0], lse, d_query, d_key)
            slope = found.positive
            if not self.same:
                slope = slope[: len(positive.row)] + slope[len(positive.row) :]
            for part in _cuts(len(slope), _LISTED):
                push_pairs(slope[part], self.query, self.key, positive.row[part], positive.column[part], d_query, d_key)
        return swept

    def _tiles(self) -> Iterator[Tile]:
        """Every tile once: its rows, its columns, and its scores, or where that is safe their exponentials."""
        if self.kept:
            yield from self.kept
            return
        for number, rows in enumerate(self.rows):
            first, last = self.ends[number : number + 2]
            out_row, out_column = self.out.row[first:last] - rows.start, self.out.column[first:last]
            columns_here = self.columns[number if self.same else 0 :]
            for columns in columns_here:
                shape = (rows.stop - rows.start, columns.stop - columns.start)
                tile = self.room[: shape[0] * shape[1]].view(shape)
                torch.mm(self.query[rows], self.key[columns].T, out=tile)
                if len(self.columns) == 1:
                    tile[out_row, out_column] = -math.inf
                else:
                    here = (out_column >= columns.start) & (out_column < columns.stop)
                    tile[out_row[here], out_column[here] - columns.start] = -math.inf
                if self.safe:
                    exp_(tile)
                if len(self.rows) == len(self.columns) == 1:
                    self.kept = [(rows, columns, tile)]
                yield rows, columns, tile

    def _sums(self, count: int) -> Tensor:
        """log Σ exp(s) of every row and every column `[count]`."""
        total = self.query.new_zeros(count)
        shift = torch.full_like(total, 0.0 if self.safe else torch.finfo(total.dtype).min)
        for rows, columns, tile in self._tiles():
            sides = [(rows, 1)] if self._diagonal(rows, columns) else [(rows, 1), (self._moved(columns), 0)]
            for place, dim in sides:
                if self.safe:
                    total[place] += tile.sum(dim)
                    continue
                before, shift[place] = shift[place].clone(), torch.maximum(shift[place], tile.amax(dim))
                total[place] *= (before - shift[place]).exp()
                total[place] += exp_(tile - shift[place].unsqueeze(dim)).sum(dim)
        return total.log() + shift

    def _diagonal(self, rows: slice, columns: slice) -> bool:
        """Whether the tile's rows are its columns."""
        return self.same and rows == columns

    def _moved(self, columns: slice) -> slice:
        return slice(columns.start + self.first, columns.stop + self.first)

    def _push(self, slope: Tensor, lse: Tensor, d_query: Tensor | None, d_key: Tensor | None) -> None:
        lse = lse.clamp(min=torch.finfo(lse.dtype).min / 2)  # a row without candidates has -inf
        # The weight of a score in its row's sum is slope · exp(s - lse); where that is safe, as a product.
        factor = slope * (-lse.clamp(min=-SAFE)).exp() if self.safe else slope
        for rows, columns, tile in self._tiles():
            moved = self._moved(columns)
            if self.safe:
                weights = tile.mul_(factor[rows].unsqueeze(1) + factor[moved])
            else:
                weights = exp_(tile - lse[rows].unsqueeze(1)).mul_(slope[rows].unsqueeze(1))
                weights.add_(exp_(tile.sub_(lse[moved])).mul_(slope[moved]))
            if d_query is not None:
                d_query[rows].addmm_(weights, self.key[columns])
            if d_key is not None and not self._diagonal(rows, columns):
                d_key[columns].addmm_(weights.T, self.query[rows])


def _products(query: Tensor, key: Tensor, pairs: Listed) -> Tensor:
    """The scores `[P]` of listed pairs, some thousands at a time."""
    found = [(query[pairs.row[part]] * key[pairs.column[part]]).sum(1) for part in _cuts(len(pairs.row), _LISTED)]
    return torch.cat(found) if found else query.new_zeros(0)


def _cuts(count: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
