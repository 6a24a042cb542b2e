"""One direction: strips of queries against all keys, whose gradient is made in the same sweep."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .formula import Few, evaluate
from .reductions import Count, LogSumExp, Maximum, Pointwise, Softplus
from .task import SAFE, Swept, Task, highest, push_pairs

_STRIP = 1 << 20  # scores that exist at a time
_FEWEST = 64  # queries in a strip, however many keys there are: a matrix product needs some rows


class _Piece(NamedTuple):
    """Listed pairs of one strip and one block of keys; rows are counted from the strip's first."""

    block: int
    row: Tensor
    column: Tensor


def by_strips(task: Task, wanted: Sequence[bool]) -> Swept:
    """Strips of queries against all keys; the gradient is made on the way.

    Args:
        wanted: whether the query's and each block's gradient is.
    """
    strips = _Strips(task, wanted)
    for number in range(len(strips.cuts) - 1):
        strips.run(number)
    return strips.swept


class _Strips:
    def __init__(self, task: Task, wanted: Sequence[bool]) -> None:
        self.task = task
        query, keys = task.query, task.keys
        count = len(query)
        self.tiled = [
            block for block, (_, negative) in enumerate(task.lists) if negative.but and task.asked and len(keys[block])
        ]
        width = sum(len(keys[block]) for block in self.tiled)
        size = min(count, max(_FEWEST, _STRIP // max(1, width))) or 1
        self.cuts = [*range(0, count, size), count]
        self.room = [query.new_empty(size * len(keys[block])) for block in self.tiled]
        cuts = torch.tensor(self.cuts, device=query.device)
        # Where each list of pairs is cut, so that nothing is searched for in the loop.
        self.ends = [[torch.searchsorted(side.row, cuts).tolist() for side in sides] for sides in task.lists]
        self.highest = highest(query, [keys[block] for block in self.tiled])
        self.swept = Swept(
            query.new_zeros(count),
            query.new_zeros(count),
            torch.zeros(count, dtype=torch.bool, device=query.device),
            *task.gradients(wanted),
        )

    def run(self, number: int) -> None:
        """One strip."""
        rows = slice(self.cuts[number], self.cuts[number + 1])
        query = self.task.query[rows]
        tiles = [
            torch.mm(
                query, self.task.keys[block].T, out=room[: len(query) * len(self.task.keys[block])].view(len(query), -1)
            )
            for block, room in zip(self.tiled, self.room, strict=True)
        ]
        pieces = [self._pieces(number, side, but=False) for side in (0, 1)]
        positive = self._few(pieces[0], query, tiles, harmless=True)
        # Where a strip lists no negatives, what is reduced are all of them.
        negative = self._few(pieces[1], query, tiles) if pieces[1] or not tiles else None
        reduced = self._reduce(number, tiles)
        found = evaluate(self.task.loss, positive, negative, [r.value for r in reduced])
        swept = self.swept
        swept.values[rows], swept.terms[rows], swept.counted[rows] = found.values, found.terms, found.counted
        if swept.d_query is None and not any(d is not None for d in swept.d_keys):
            return
        weights: Sequence[Tensor] = []
        for reduction, slope in zip(reduced, found.reduced, strict=True):
            if isinstance(reduction, Maximum):
                for block, (row, column) in zip(self.tiled, reduction.places(), strict=True):
                    self._push_pairs(rows, _Piece(block, row, column), slope[row])
            elif not isinstance(reduction, Count):
                more = reduction.weights(slope)
                weights = [one.add_(other) for one, other in zip(weights, more, strict=True)] if weights else more
        for some, slope in zip(pieces, (found.positive, found.negative), strict=True):
            self._push_pieces(rows, some, slope, weights)
        self._push_tiles(rows, weights)

    def _pieces(self, number: int, side: int, but: bool) -> list[_Piece]:
        """The pairs of one strip that the lists name; of one side, those that are (or with `but`, are left out)."""
        found = []
        for block, sides in enumerate(self.task.lists):
            first, last = self.ends[block][side][number : number + 2]
            if sides[side].but == but and first < last:
                row, column, _ = sides[side]
                found.append(_Piece(block, row[first:last] - self.cuts[number], column[first:last]))
        return found

    def _few(
        self, pieces: Sequence[_Piece], query: Tensor, tiles: Sequence[Tensor], harmless: bool = False
    ) -> Few:
        if not pieces:
            return Few(query.new_zeros(0, dtype=torch.int64), query.new_zeros(0), len(query), harmless)
        values = [
            tiles[self.tiled.index(block)][row, column]
            if block in self.tiled
            else (query[row] * self.task.keys[block][column]).sum(1)
            for block, row, column in pieces
        ]
        return Few(torch.cat([piece.row for piece in pieces]), torch.cat(values), len(query), harmless)

    def _reduce(self, number: int, tiles: list[Tensor]) -> list[Any]:
        """Everything that the loss asks for, over the candidates in the tiles."""
        if not tiles:
            return []
        out = {piece.block: (piece.row, piece.column) for piece in self._pieces(number, 1, but=True)}
        nothing = (tiles[0].new_zeros(0, dtype=torch.int64),) * 2
        places = [out.get(block, nothing) for block in self.tiled]
        for tile, place in zip(tiles, places, strict=True):
            tile[place] = -math.inf
        found: list[Any] = []
        for i, (name, argument) in enumerate(self.task.asked):
            # The last reduction may overwrite the scores.
            mine = tiles if i == len(self.task.asked) - 1 else [tile.clone() for tile in tiles]
            if name == "logsumexp":
                found.append(LogSumExp(mine, argument, self.highest))
            elif name == "sum" and argument is F.softplus and self.highest <= SAFE:
                found.append(Softplus(mine))
            elif name == "sum":
                found.append(Pointwise(mine, argument, places))
            elif name == "max":
                found.append(Maximum(mine))
            else:
                found.append(Count(tiles, places))
        return found

    def _push_pieces(self, rows: slice, pieces: Sequence[_Piece], slope: Tensor, weights: Sequence[Tensor]) -> None:
        """Adds listed pairs to the weights of their tile; where there is none, their gradient by itself."""
        for piece, part in zip(pieces, torch.split(slope, [len(p.row) for p in pieces]), strict=True):
            if weights and piece.block in self.tiled:
                tile = weights[self.tiled.index(piece.block)]
                tile.index_put_((piece.row, piece.column), part, accumulate=True)
            else:
                self._push_pairs(rows, piece, part)

    def _push_pairs(self, rows: slice, piece: _Piece, slope: Tensor) -> None:
        block, row, column = piece
        push_pairs(slope, self.task.query[rows], self.task.keys[block], row, column, self.swept, rows, block)

    def _push_tiles(self, rows: slice, weights: Sequence[Tensor]) -> None:
        query = self.task.query[rows]
        for block, tile in zip(self.tiled, weights, strict=False):
            if self.swept.d_query is not None:
                self.swept.d_query[rows].addmm_(tile, self.task.keys[block])
            if (d_key := self.swept.d_keys[block]) is not None:
                d_key.addmm_(tile.T, query)
