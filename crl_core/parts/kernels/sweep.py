"""Scores in strips and tiles: the sweeps that compute a loss and its gradient without ever holding all scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...listing import Listed
from .formula import Asked, Few, LossOfScores, evaluate

_STRIP = 1 << 20  # scores that exist at a time
_TILE = 1024  # rows and columns of a tile
_FEWEST = 64  # queries in a strip, however many keys there are: a matrix product needs some rows
_SAFE = 60.0  # exp of scores up to this neither overflows nor vanishes in float32, also in sums of millions


class Task(NamedTuple):
    """What is swept: factors of the scores, and the candidates of every block of keys as lists.

    Attributes:
        query, keys: `[N, D]` and blocks `[M, D]`, in at least float32.
        lists: for every block, its positives and its negatives.
        asked: the reductions over those negatives whose list says which are left out.
    """

    loss: LossOfScores
    query: Tensor
    keys: Sequence[Tensor]
    lists: Sequence[tuple[Listed, Listed]]
    asked: Sequence[Asked]

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


class _Piece(NamedTuple):
    """Listed pairs of one strip and one block of keys; rows are counted from the strip's first."""

    block: int
    row: Tensor
    column: Tensor


# -- reductions over tiles: each has a value for every row, and hands its slope on -------------------


class _LogSumExp:
    """log Σ exp(scale · s), over tiles that it overwrites."""

    def __init__(self, tiles: Sequence[Tensor], scale: float, highest: float) -> None:
        self.scale, self.tiles = scale, tiles
        if scale != 1.0:
            for tile in tiles:
                # A negative scale must not make +inf of what is no candidate.
                tile.masked_fill_(tile.mul_(scale) == math.inf, -math.inf)
        shift: Tensor | float = 0.0
        if highest * abs(scale) > _SAFE:
            shift = torch.stack([tile.amax(1) for tile in tiles]).amax(0)
            # A row without candidates has the maximum -inf, and -inf - -inf would be NaN.
            shift = shift.clamp_(min=torch.finfo(shift.dtype).min)
            for tile in tiles:
                tile.sub_(shift.unsqueeze(1))
        self.total = torch.stack([tile.exp_().sum(1) for tile in tiles]).sum(0)
        self.value = self.total.log() + shift

    def slopes(self, slope: Tensor) -> tuple[Sequence[Tensor], Tensor]:
        """d value / d scores, as tiles and a factor for every row."""
        return self.tiles, self.scale * slope / self.total.clamp(min=torch.finfo(slope.dtype).tiny)


class _Pointwise:
    """Σ function(s), of which the pairs that are no candidates are taken out."""

    def __init__(self, tiles: Sequence[Tensor], function: Any, out: Sequence[tuple[Tensor, Tensor]]) -> None:
        self.tiles = []
        self.value = tiles[0].new_zeros(len(tiles[0]))
        for tile, place in zip(tiles, out, strict=True):
            tile[place] = 0.0  # in place of -inf, for which a function needs no value
            if function is None:
                values, slopes = tile, torch.ones_like(tile)
            else:
                leaf = tile.detach().requires_grad_()
                with torch.enable_grad():
                    values = function(leaf)
                (slopes,) = torch.autograd.grad(values, leaf, torch.ones_like(values))
                values = values.detach()
            values[place] = slopes[place] = 0.0
            self.value += values.sum(1)
            self.tiles.append(slopes)

    def slopes(self, slope: Tensor) -> tuple[Sequence[Tensor], Tensor]:
        return self.tiles, slope


class _Maximum:
    """The highest score; its slope goes to one candidate."""

    def __init__(self, tiles: Sequence[Tensor]) -> None:
        best, place = zip(*(tile.max(1) for tile in tiles), strict=True)
        self.value, self.block = torch.stack(best).max(0)
        self.place = torch.stack(place)
        self.tiles = tiles

    def slopes(self, slope: Tensor) -> tuple[Sequence[Tensor], Tensor]:
        rows = torch.arange(len(slope), device=slope.device)
        for number, tile in enumerate(self.tiles):
            tile.zero_()
            tile[rows, self.place[number]] = (self.block == number).to(tile.dtype)
        return self.tiles, slope


# -- one direction: strips ---------------------------------------------------------------------------


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
        gradients = [torch.zeros_like(x) if w else None for x, w in zip((query, *keys), wanted, strict=True)]
        self.swept = Swept(
            query.new_zeros(count),
            query.new_zeros(count),
            torch.zeros(count, dtype=torch.bool, device=query.device),
            gradients[0],
            gradients[1:],
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
        positive, negative = (self._few(some, query, tiles) for some in pieces)
        reduced = self._reduce(number, tiles)
        counted = positive.counts > 0
        found = evaluate(self.task.loss, counted, positive, negative, [r.value for r in reduced])
        swept = self.swept
        swept.values[rows], swept.terms[rows], swept.counted[rows] = found.values, found.terms, counted
        if swept.d_query is None and not any(d is not None for d in swept.d_keys):
            return
        for reduction, slope in zip(reduced, found.reduced, strict=True):
            if not isinstance(reduction, _Count):
                self._push_tiles(rows, *reduction.slopes(slope))
        for some, slope in zip(pieces, (found.positive, found.negative), strict=True):
            self._push_pieces(rows, some, slope)

    def _pieces(self, number: int, side: int, but: bool) -> list[_Piece]:
        """The pairs of one strip that the lists name; of one side, those that are (or with `but`, are left out)."""
        found = []
        for block, sides in enumerate(self.task.lists):
            first, last = self.ends[block][side][number : number + 2]
            if sides[side].but == but and first < last:
                row, column, _ = sides[side]
                found.append(_Piece(block, row[first:last] - self.cuts[number], column[first:last]))
        return found

    def _few(self, pieces: Sequence[_Piece], query: Tensor, tiles: Sequence[Tensor]) -> Few:
        if not pieces:
            return Few(query.new_zeros(0, dtype=torch.int64), query.new_zeros(0), len(query))
        values = [
            tiles[self.tiled.index(block)][row, column]
            if block in self.tiled
            else (query[row] * self.task.keys[block][column]).sum(1)
            for block, row, column in pieces
        ]
        return Few(torch.cat([piece.row for piece in pieces]), torch.cat(values), len(query))

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
                found.append(_LogSumExp(mine, argument, self.highest))
            elif name == "sum":
                found.append(_Pointwise(mine, argument, places))
            elif name == "max":
                found.append(_Maximum(mine))
            else:
                found.append(_Count(tiles, places))
        return found

    def _push_tiles(self, rows: slice, tiles: Sequence[Tensor], factor: Tensor) -> None:
        # The factor goes with the narrow side of each product.
        query = self.task.query[rows] * factor.unsqueeze(1)
        for block, tile in zip(self.tiled, tiles, strict=True):
            if self.swept.d_query is not None:
                self.swept.d_query[rows].addcmul_(tile @ self.task.keys[block], factor.unsqueeze(1))
            if (d_key := self.swept.d_keys[block]) is not None:
                d_key.addmm_(tile.T, query)

    def _push_pieces(self, rows: slice, pieces: Sequence[_Piece], slope: Tensor) -> None:
        query = self.task.query[rows]
        for (block, row, column), part in zip(pieces, torch.split(slope, [len(p.row) for p in pieces]), strict=True):
            push_pairs(part, query, self.task.keys[block], row, column, self.swept, rows, block)


class _Count:
    """How many candidates the tiles have; without a slope."""

    def __init__(self, tiles: Sequence[Tensor], out: Sequence[tuple[Tensor, Tensor]]) -> None:
        self.value = tiles[0].new_full((len(tiles[0]),), float(sum(tile.shape[1] for tile in tiles)))
        for row, _ in out:
            self.value.index_add_(0, row, -torch.ones_like(row, dtype=self.value.dtype))


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
    if not len(query) or not any(map(len, keys)):
        return 0.0
    return float(_longest(query) * torch.stack([_longest(key) for key in keys if len(key)]).max())


def _longest(rows: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(rows, dim=1)
    return length.max()


# -- both directions: tiles --------------------------------------------------------------------------


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
        self.rows = _cuts(len(self.query), _TILE)
        self.columns = _cuts(len(self.key), _TILE)
        self.first = 0 if same else len(self.query)  # where the columns' vectors begin
        self.room = self.query.new_empty(_TILE * _TILE)
        self.safe = highest(self.query, task.keys) <= _SAFE

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
        factor = slope * (-lse.clamp(min=-_SAFE)).exp() if self.safe else slope
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
