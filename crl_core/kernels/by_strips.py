"""One direction: strips of queries against all keys, whose gradient is made in the same sweep."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .formula import evaluate
from .strip import Piece, Strip, StripPairs
from .task import Swept, Task, highest

_STRIP = 1 << 20  # scores that exist at a time
_FEWEST = 64  # queries in a strip, however many keys there are: a matrix product needs some rows


def by_strips(task: Task, wanted: Sequence[bool]) -> Swept:
    """Strips of queries against all keys; the gradient is made on the way.

    Args:
        wanted: whether the query's and each block's gradient is.
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
        found = evaluate(task.loss, positive, negative, [reduction.value for reduction in strip.reductions])
        swept.values[rows], swept.terms[rows], swept.counted[rows] = found.values, found.terms, found.counted
        if any(wanted):
            d_query = None if swept.d_query is None else swept.d_query[rows]
            strip.push((found.positive, found.negative), found.reduced, d_query, swept.d_keys)
    return swept


def _listed(task: Task, cuts: Sequence[int]) -> list[StripPairs]:
    """The lists of every strip."""
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
