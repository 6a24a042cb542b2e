"""Both directions: a tile serves its rows and its columns; if queries are keys, only tiles above the diagonal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from .formula import CandidateList, both_sides, evaluate
from .task import SAFE, Swept, Task, exp_, highest, push_pairs

TILE = 512  # the number of rows and columns of a tile
_LISTED = 1 << 11  # the number of listed pairs that are computed at a time

Tile = tuple[slice, slice, Tensor]


def by_tiles(task: Task, wanted: Sequence[bool], same: bool) -> Swept:
    """Tiles that serve their rows and their columns, for a loss of one log-sum-exp over one block of keys.

    The first sweep computes the sums of all rows and columns, the second one the gradient.

    Args:
        same: whether the queries are the keys: then half of the tiles are enough. Otherwise the keys are also
            queries, and their losses come after those of the queries.
    """
    tiles, positive = Tiles(task, same), task.lists[0][0]
    lse, values = tiles.sums(), tiles.products()
    if same:
        candidates = CandidateList(
            positive.row, values, len(lse), harmless=True, column=positive.column, weight=positive.weight
        )
    else:
        candidates = both_sides(positive, values, len(task.query), len(task.keys[0]))
    value = evaluate(task.loss, candidates, None, [lse])
    of_pairs = value.positive
    if not same:
        of_pairs = of_pairs[: len(values)] + of_pairs[len(values) :]
    gradients = tiles.gradients(wanted, value.reduced[0], lse, of_pairs)
    return Swept(value.values, value.terms, value.counted, *gradients)


class Tiles:
    """The sweeps over the tiles; see `by_tiles`."""

    def __init__(self, task: Task, same: bool) -> None:
        self.task, self.same = task, same
        self.query, self.key = task.query, task.keys[0]
        self.positive, self.out = task.lists[0]
        self.rows = _cuts(len(self.query), TILE)
        self.columns = _cuts(len(self.key), TILE)
        self.first = 0 if same else len(self.query)  # where the columns' vectors begin
        self.room = self.query.new_empty(min(TILE, len(self.query)) * min(TILE, len(self.key)))
        self.safe = highest(self.query, task.keys) <= SAFE
        self.kept: list[Tile] = []  # a single tile is kept for the second sweep, which overwrites it
        bounds = torch.tensor([*(rows.start for rows in self.rows), len(self.query)], device=self.out.row.device)
        self.ends = torch.searchsorted(self.out.row, bounds).tolist()

    def products(self) -> Tensor:
        """The scores of the positives `[P]`, some thousands at a time."""
        cuts = _cuts(len(self.positive.row), _LISTED)
        scores = [(self.query[self.positive.row[p]] * self.key[self.positive.column[p]]).sum(1) for p in cuts]
        return torch.cat(scores) if scores else self.query.new_zeros(0)

    def gradients(
        self, wanted: Sequence[bool], slope: Tensor, lse: Tensor, of_pairs: Tensor
    ) -> tuple[Tensor | None, list[Tensor | None]]:
        """The gradients of queries and keys, from the slopes of the loss for each sum and each positive's score."""
        d_query, (d_key,) = self.task.gradients(wanted)
        if d_query is not None or d_key is not None:
            self._push(slope, lse, d_query, d_key)
            for part in _cuts(len(of_pairs), _LISTED):
                row, column = self.positive.row[part], self.positive.column[part]
                push_pairs(of_pairs[part], self.query, self.key, row, column, d_query, d_key)
        return d_query, [d_key]

    def _tiles(self) -> Iterator[Tile]:
        """Each tile once: its rows, its columns, and its scores, or their exponentials if these can't overflow."""
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

    def sums(self) -> Tensor:
        """log Σ exp(s) of each row, and below it, if the keys are not the queries, of each column."""
        total = self.query.new_zeros(self.first + len(self.key))
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
        # The weight of a score in its row's sum is slope · exp(s - lse); computed as a product if it can't overflow.
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


def _cuts(count: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
