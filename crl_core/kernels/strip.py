"""A strip, which is some queries against all keys: their scores, the reductions of these, and the gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .formula import CandidateList
from .reductions import Maximum, Places, Reduction, reductions_of, score_slopes
from .task import Task, push_pairs


class Piece(NamedTuple):
    """Listed pairs of a strip with one block of keys; rows are counted from the first of the strip."""

    block: int
    row: Tensor
    column: Tensor
    weight: Tensor | None = None


class StripPairs(NamedTuple):
    """The listed pairs of a strip: positives, negatives, and pairs in the tiles that are not negatives."""

    positive: list[Piece]
    negative: list[Piece]
    out: list[Piece]


class Strip:
    """Queries against all keys.

    Args:
        query: `[n, D]`, some or all queries of the task.
        highest: a bound of the absolute values of their scores.
        room: memory for the scores with each block of keys that is in tiles.
    """

    def __init__(self, task: Task, query: Tensor, listed: StripPairs, highest: float, room: Sequence[Tensor]) -> None:
        self.task, self.query, self.listed, self.highest = task, query, listed, highest
        shapes = [(len(query), len(task.keys[block])) for block in task.tiled]
        outs = [space[: n * m].view(n, m) for space, (n, m) in zip(room, shapes, strict=True)]
        self.tiles = [torch.mm(query, task.keys[b].T, out=out) for b, out in zip(task.tiled, outs, strict=True)]
        self.values = [self._values(listed.positive), self._values(listed.negative)]
        self.reductions = self._reduce() if self.tiles else []

    def _values(self, pieces: Sequence[Piece]) -> Tensor:
        """The scores of listed pairs `[P]`."""
        scores = [
            self.tiles[self.task.tiled.index(block)][row, column]
            if block in self.task.tiled
            else (self.query[row] * self.task.keys[block][column]).sum(1)
            for block, row, column, _ in pieces
        ]
        return scores[0] if len(scores) == 1 else torch.cat(scores) if scores else self.query.new_zeros(0)

    def positive(self, values: Tensor) -> CandidateList:
        pieces, column = self.listed.positive, None
        if self.task.alone and len(self.query) == len(self.task.query):
            column = self._joined([piece.column for piece in pieces])
        weights = [piece.weight for piece in pieces if piece.weight is not None]
        weight = self._joined(weights) if weights else None
        return CandidateList(self._row(pieces), values, len(self.query), harmless=True, column=column, weight=weight)

    def negative(self, values: Tensor) -> CandidateList | None:
        """The listed negatives; None if there are none, because all negatives are in the tiles."""
        if self.reductions and not self.listed.negative:
            return None
        return CandidateList(self._row(self.listed.negative), values, len(self.query))

    def _row(self, pieces: Sequence[Piece]) -> Tensor:
        return self._joined([piece.row for piece in pieces])

    def _joined(self, parts: Sequence[Tensor]) -> Tensor:
        return parts[0] if len(parts) == 1 else torch.cat([self.query.new_zeros(0, dtype=torch.int64), *parts])

    def _reduce(self) -> list[Reduction]:
        """All reductions that the loss calls, for the candidates in the tiles."""
        places: list[Places | None] = [None] * len(self.tiles)
        for block, row, column, _ in self.listed.out:
            number = self.task.tiled.index(block)
            places[number] = row, column
            self.tiles[number][row, column] = -math.inf
        return reductions_of(self.task.asked, self.tiles, places, self.highest)

    def push(
        self, of_values: Sequence[Tensor], of_reduced: Sequence[Tensor], d_query: Tensor | None,
        d_keys: Sequence[Tensor | None],
    ) -> None:  # fmt: skip
        """Adds the gradient to those of the queries `[n, D]` and of the blocks of keys.

        Args:
            of_values, of_reduced: the slopes of the loss for the scores of listed positives and negatives, and for
                each reduction.
        """
        for reduction, slope in zip(self.reductions, of_reduced, strict=True):
            if isinstance(reduction, Maximum):
                for block, (row, column) in zip(self.task.tiled, reduction.places(), strict=True):
                    self._push_pairs(Piece(block, row, column), slope[row], d_query, d_keys)
        weights = score_slopes(self.reductions, of_reduced)
        for pieces, slope in zip(self.listed[:2], of_values, strict=True):
            for piece, part in zip(pieces, torch.split(slope, [len(piece.row) for piece in pieces]), strict=True):
                if weights and piece.block in self.task.tiled:
                    tile = weights[self.task.tiled.index(piece.block)]
                    tile.index_put_((piece.row, piece.column), part, accumulate=True)
                else:
                    self._push_pairs(piece, part, d_query, d_keys)
        self._push_tiles(weights, d_query, d_keys)

    def _push_pairs(self, piece: Piece, slope: Tensor, d_query: Tensor | None, d_keys: Sequence[Tensor | None]) -> None:
        block, row, column, _ = piece
        push_pairs(slope, self.query, self.task.keys[block], row, column, d_query, d_keys[block])

    def _push_tiles(self, weights: Sequence[Tensor], d_query: Tensor | None, d_keys: Sequence[Tensor | None]) -> None:
        for block, tile in zip(self.task.tiled, weights, strict=False):
            if d_query is not None:
                d_query.addmm_(tile, self.task.keys[block])
            if (d_key := d_keys[block]) is not None:
                d_key.addmm_(tile.T, self.query)
