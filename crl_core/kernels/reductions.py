"""Reductions of tiles of scores: each has a value for each row, and turns a slope for it into slopes for the scores."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .formula import Asked
from .task import SAFE, exp_

Places = tuple[Tensor, Tensor]  # rows and columns
_TINY = torch.finfo(torch.float32).tiny


def _added(parts: Iterable[Tensor]) -> Tensor:
    return reduce(torch.Tensor.add_, parts)


class LogSumExp:
    """log Σ exp(scale · s), for tiles, which it overwrites."""

    def __init__(self, tiles: Sequence[Tensor], scale: float, highest: float) -> None:
        self.scale, self.tiles = scale, tiles
        if scale != 1.0:
            for tile in tiles:
                # A negative scale must not turn the -inf of other pairs into +inf.
                tile.masked_fill_(tile.mul_(scale) == math.inf, -math.inf)
        shift = None
        if highest * abs(scale) > SAFE:
            shift = _finite(torch.stack([tile.amax(1) for tile in tiles]).amax(0))
            for tile in tiles:
                tile.sub_(shift.unsqueeze(1))
        self.total = _added(exp_(tile).sum(1) for tile in tiles)
        self.value = self.total.log() if shift is None else self.total.log() + shift

    def weights(self, slope: Tensor) -> list[Tensor]:
        """slope · d value / d scores."""
        factor = slope / self.total.clamp(min=_TINY)
        factor = factor if self.scale == 1.0 else self.scale * factor
        return [tile.mul_(factor.unsqueeze(1)) for tile in self.tiles]


class Mirrored:
    """log Σ exp s of a symmetric tile, whose exponentials can't overflow."""

    def __init__(self, tile: Tensor) -> None:
        self.tile = exp_(tile)
        self.total = self.tile.sum(1)
        self.value = self.total.log()

    def weights(self, slope: Tensor) -> list[Tensor]:
        """The slope of each score, for its row and for its column."""
        factor = slope / self.total.clamp(min=_TINY)
        return [self.tile.mul_(factor.unsqueeze(1) + factor)]


class BothWays:
    """log Σ exp s of the rows, and below them of the columns."""

    def __init__(self, tile: Tensor, highest: float) -> None:
        self.of_rows = self.of_columns = tile
        row = column = tile.new_zeros(())
        if highest > SAFE:
            row, column = _finite(tile.amax(1)), _finite(tile.amax(0))
            self.of_columns = exp_(tile - column)
            tile.sub_(row.unsqueeze(1))
        exp_(tile)
        self.total = torch.cat([self.of_rows.sum(1), self.of_columns.sum(0)])
        self.value = self.total.log()
        if highest > SAFE:
            self.value += torch.cat([row, column])

    def weights(self, slope: Tensor) -> list[Tensor]:
        row, column = torch.split(slope / self.total.clamp(min=_TINY), list(self.of_rows.shape))
        if self.of_columns is self.of_rows:
            return [self.of_rows.mul_(row.unsqueeze(1) + column)]
        return [self.of_rows.mul_(row.unsqueeze(1)).add_(self.of_columns.mul_(column))]


def _finite(highest: Tensor) -> Tensor:
    # Without candidates it is -inf, and -inf - -inf would be NaN.
    return highest.clamp_(min=torch.finfo(highest.dtype).min)


class Softplus:
    """Σ log(1 + exp s), for scores whose exponentials can't overflow: one exponential for value and slope."""

    def __init__(self, tiles: Sequence[Tensor]) -> None:
        self.value = _added(torch.log1p(exp_(tile)).sum(1) for tile in tiles)
        self.tiles = tiles

    def weights(self, slope: Tensor) -> list[Tensor]:
        return [tile.div_(tile + 1).mul_(slope.unsqueeze(1)) for tile in self.tiles]


class Pointwise:
    """Σ function(s), without the pairs that are not candidates."""

    def __init__(self, tiles: Sequence[Tensor], function: Any, out: Sequence[Places | None]) -> None:
        self.tiles = []
        self.value = tiles[0].new_zeros(len(tiles[0]))
        for tile, place in zip(tiles, out, strict=True):
            if place is not None:
                tile[place] = 0.0  # instead of -inf, for which the function may have no value
            if function is None:
                values, slopes = tile, torch.ones_like(tile)
            else:
                leaf = tile.detach().requires_grad_()
                with torch.enable_grad():
                    values = function(leaf)
                slopes = torch.zeros_like(leaf)  # for example, a count has no slope
                if values.requires_grad:
                    (slopes,) = torch.autograd.grad(values, leaf, torch.ones_like(values))
                values = values.detach()
            if place is not None:
                values[place] = slopes[place] = 0.0
            self.value += values.sum(1)
            self.tiles.append(slopes)

    def weights(self, slope: Tensor) -> list[Tensor]:
        return [tile.mul_(slope.unsqueeze(1)) for tile in self.tiles]


class Maximum:
    """The highest score; its slope goes to one candidate."""

    def __init__(self, tiles: Sequence[Tensor]) -> None:
        best, place = zip(*(tile.max(1) for tile in tiles), strict=True)
        self.value, self.tile = torch.stack(best).max(0)
        self.column = torch.stack(place)

    def places(self) -> list[tuple[Tensor, Tensor]]:
        """The rows and columns of the maxima in each tile."""
        rows = [(self.tile == number).nonzero().squeeze(1) for number in range(len(self.column))]
        return [(row, column[row]) for row, column in zip(rows, self.column, strict=True)]


class Count:
    """The number of candidates in the tiles; it has no slope."""

    def __init__(self, tiles: Sequence[Tensor], out: Sequence[Places | None]) -> None:
        self.value = tiles[0].new_full((len(tiles[0]),), float(sum(tile.shape[1] for tile in tiles)))
        for row, _ in filter(None, out):
            self.value.index_add_(0, row, -torch.ones_like(row, dtype=self.value.dtype))


Reduction = LogSumExp | Mirrored | BothWays | Softplus | Pointwise | Maximum | Count


def reductions_of(
    asked: Sequence[Asked], tiles: Sequence[Tensor], out: Sequence[Places | None], highest: float
) -> list[Reduction]:
    """All reductions that a loss calls, for tiles, which they may overwrite.

    Args:
        out: the pairs that are not candidates; their scores are -inf.
        highest: a bound of the absolute values of all other scores.
    """
    *first, last = asked
    # The last reduction may overwrite the tiles themselves.
    copies = (tiles if one.name == "count" else [tile.clone() for tile in tiles] for one in first)
    found = [_reduction(one, copy, out, highest) for one, copy in zip(first, copies, strict=True)]
    return [*found, _reduction(last, tiles, out, highest)]


def _reduction(asked: Asked, tiles: Sequence[Tensor], out: Sequence[Places | None], highest: float) -> Reduction:
    name, argument = asked
    if name == "logsumexp":
        return LogSumExp(tiles, argument, highest)
    if name == "max":
        return Maximum(tiles)
    if name == "count":
        return Count(tiles, out)
    return Softplus(tiles) if argument is F.softplus and highest <= SAFE else Pointwise(tiles, argument, out)


def score_slopes(reductions: Sequence[Reduction], slopes: Sequence[Tensor]) -> list[Tensor]:
    """The slopes of all scores in the tiles, from the slopes of the reductions."""
    weights: list[Tensor] = []
    for reduction, slope in zip(reductions, slopes, strict=True):
        if not isinstance(reduction, (Count, Maximum)):
            more = reduction.weights(slope)
            weights = [one.add_(other) for one, other in zip(weights, more, strict=True)] if weights else more
    return weights
