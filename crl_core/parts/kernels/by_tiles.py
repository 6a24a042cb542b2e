"""Both directions: tiles that serve their rows and their columns, and above the diagonal alone where these are one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...listing import Listed
from .formula import Few, evaluate
from .task import SAFE, Swept, Task, highest, push_pairs

TILE = 1024  # rows and columns of a tile


def one_tile(task: Task) -> bool:
    """Whether all scores are a single tile, for which the two sweeps would be one too many."""
    return max(len(task.query), len(task.keys[0])) <= TILE


def by_tiles(task: Task, wanted: Sequence[bool], same: bool) -> Swept:
    """Tiles that serve their rows and their columns, for a loss of one log-sum-exp over one block of keys.

    Two sweeps: the first makes the sums of all rows and columns, the second the gradient.

    Args:
        same: the queries are the keys and the score is symmetric, so that half of the tiles are enough;
            otherwise the keys are queries too, and their losses follow those of the queries.
    """
    return _Tiles(task, wanted, same).run()


class _Tiles:
    def __init__(self, task: Task, wanted: Sequence[bool], same: bool) -> None:
        self.task, self.wanted, self.same = task, wanted, same
        self.query, self.key = task.query, task.keys[0]
        self.rows = _cuts(len(self.query), TILE)
        self.columns = _cuts(len(self.key), TILE)
        self.first = 0 if same else len(self.query)  # where the columns' vectors begin
        self.room = self.query.new_empty(TILE * TILE)
        self.safe = highest(self.query, task.keys) <= SAFE

    def run(self) -> Swept:
        (positive, negative), count = self.task.lists[0], self.first + len(self.key)
        self.out = negative
        self.ends = torch.searchsorted(negative.row, torch.tensor(self._bounds(), device=negative.row.device)).tolist()
        lse = self._sums(count)
        values = _products(self.query, self.key, positive)
        row = positive.row
        if not self.same:
            row, values = torch.cat([row, self.first + positive.column]), torch.cat([values, values])
        few = Few(row, values, count)
        counted = few.counts > 0
        nothing = Few(row[:0], values[:0], count)
        found = evaluate(self.task.loss, counted, few, nothing, [lse])
        d_query = torch.zeros_like(self.query) if self.wanted[0] else None
        d_key = torch.zeros_like(self.key) if self.wanted[1] else None
        swept = Swept(found.values, found.terms, counted, d_query, [d_key])
        if d_query is not None or d_key is not None:
            self._push(found.reduced[0], lse, swept)
            slope = (
                found.positive
                if self.same
                else found.positive[: len(positive.row)] + found.positive[len(positive.row) :]
            )
            for part in _cuts(len(slope), 1 << 14):
                push_pairs(
                    slope[part], self.query, self.key, positive.row[part], positive.column[part], swept, slice(None), 0
                )
        return swept

    def _bounds(self) -> list[int]:
        return [*(rows.start for rows in self.rows), len(self.query)]

    def _tiles(self) -> Any:
        """Every tile once: its rows, its columns, whether it is on the diagonal, and its scores."""
        for number, rows in enumerate(self.rows):
            first, last = self.ends[number : number + 2]
            out_row, out_column = self.out.row[first:last] - rows.start, self.out.column[first:last]
            for columns in self.columns[number if self.same else 0 :]:
                shape = (rows.stop - rows.start, columns.stop - columns.start)
                tile = self.room[: shape[0] * shape[1]].view(shape)
                torch.mm(self.query[rows], self.key[columns].T, out=tile)
                here = (out_column >= columns.start) & (out_column < columns.stop)
                tile[out_row[here], out_column[here] - columns.start] = -math.inf
                yield rows, columns, self.same and rows == columns, tile

    def _sums(self, count: int) -> Tensor:
        """log Σ exp(s) of every row and every column `[count]`."""
        total = self.query.new_zeros(count)
        shift = torch.full_like(total, 0.0 if self.safe else torch.finfo(total.dtype).min)
        for rows, columns, diagonal, tile in self._tiles():
            sides = [(rows, 1)] if diagonal else [(rows, 1), (self._moved(columns), 0)]
            if self.safe:
                tile.exp_()
                for place, dim in sides:
                    total[place] += tile.sum(dim)
                continue
            for place, dim in sides:
                before, shift[place] = shift[place].clone(), torch.maximum(shift[place], tile.amax(dim))
                total[place] *= (before - shift[place]).exp()
                total[place] += (tile - shift[place].unsqueeze(dim)).exp_().sum(dim)
        return total.log() + shift

    def _moved(self, columns: slice) -> slice:
        return slice(columns.start + self.first, columns.stop + self.first)

    def _push(self, slope: Tensor, lse: Tensor, swept: Swept) -> None:
        lse = lse.clamp(min=torch.finfo(lse.dtype).min / 2)  # a row without candidates has -inf
        # The weight of a score in its row's sum is slope · exp(s - lse); where that is safe, as a product.
        factor = slope * (-lse.clamp(min=-SAFE)).exp() if self.safe else slope
        (d_key,) = swept.d_keys
        for rows, columns, diagonal, tile in self._tiles():
            moved = self._moved(columns)
            if self.safe:
                weights = tile.exp_()
                weights.mul_(factor[rows].unsqueeze(1) + (0.0 if diagonal else factor[moved]))
            else:
                weights = (tile - lse[rows].unsqueeze(1)).exp_().mul_(slope[rows].unsqueeze(1))
                if not diagonal:
                    weights.add_(tile.sub_(lse[moved]).exp_().mul_(slope[moved]))
            if swept.d_query is not None:
                swept.d_query[rows].addmm_(weights, self.key[columns])
            if d_key is not None:
                d_key[columns].addmm_(weights.T, self.query[rows])


def _products(query: Tensor, key: Tensor, pairs: Listed) -> Tensor:
    """The scores `[P]` of listed pairs, some thousands at a time."""
    found = [(query[pairs.row[part]] * key[pairs.column[part]]).sum(1) for part in _cuts(len(pairs.row), 1 << 14)]
    return torch.cat(found) if found else query.new_zeros(0)


def _cuts(count: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
