"""One direction: strips of queries against all keys; the gradient is computed in the same sweep."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .formula import evaluate
from .strip import Piece, Strip, StripPairs
from .task import Swept, Task, highest

_STRIP = 1 << 20  # the number of scores that exist at a time
_FEWEST = 64  # the lowest number of queries in a strip: a matrix product with fewer rows is slow


def by_strips(task: Task, wanted: Sequence[bool]) -> Swept:
    """Strips of queries against all keys; the gradient is computed in the same sweep.

    Args:
        wanted: whether the gradient of the queries, and of each block of keys, is needed.
    """
    query, count = task.query, len(task.query)
    widths = [len(task.keys[block]) for block in task.tiled]
    size = min(count, max(_FEWEST, _STRIP // max(1, sum(widths)))) or 1
    cuts = [*range(0, count, size), count]
    room = [query.new_empty(size * width) for width in widths]
    most = highest(query, [task.keys[block] for block in task.tiled])
    swept = Swept(
        query.new_zeros(count),
        query.new_zeros(count),
        torch.zeros(count, dtype=torch.bool, device=query.device),
        *task.gradients(wanted, turned=True),
    )
    for first, last, listed in zip(cuts, cuts[1:], _listed(task, cuts), strict=False):
        rows = slice(first, last)
        strip = Strip(task, query[rows], listed, most, room)
        positive, negative = strip.positive(strip.values[0]), strip.negative(strip.values[1])
        value = evaluate(task.loss, positive, negative, [reduction.value for reduction in strip.reductions])
        swept.values[rows], swept.terms[rows], swept.counted[rows] = value.values, value.terms, value.counted
        if any(wanted):
            d_query = None if swept.d_query is None else swept.d_query[rows]
            strip.push((value.positive, value.negative), value.reduced, d_query, swept.d_keys)
    return swept


def _listed(task: Task, cuts: Sequence[int]) -> list[StripPairs]:
    """The listed pairs of each strip."""
    strips = [StripPairs([], [], []) for _ in cuts[1:]]
    at = torch.tensor(cuts, device=task.query.device)
    for block, sides in enumerate(task.lists):
        for side, name in zip(sides, ("positive", "negative"), strict=True):
            ends = torch.searchsorted(side.row, at).tolist()
            for strip, cut, first, last in zip(strips, cuts, ends, ends[1:], strict=False):
                if first < last and (not side.complement or block in task.tiled):
                    pieces: list[Piece] = strip.out if side.complement else getattr(strip, name)
                    weight = None if side.weight is None else side.weight[first:last]
                    pieces.append(Piece(block, side.row[first:last] - cut, side.column[first:last], weight))
    return strips
