from __future__ import annotations

from typing import Literal, get_args

from torch import nn

from ...pairs import Pairs
from ...protocols import Memory

_By = Literal["chance", "distance"]


class Drawn(nn.Module):
    """Of the batch's keys, for every query one of its positives and `count` of its negatives, drawn with replacement.

    What NCE and negative sampling contrast with (Le-Khac et al. 2020, section III-E). Other choices stand next to it
    as they are: `keys=[Drawn(16), Queue(4096)]` draws from the batch, and takes the whole queue.

    Args:
        count: negatives of each query.
        by: "chance" draws every negative alike; "distance" draws all distances alike, so that few
            negatives that are near are not missed (Wu et al. 2017, equation 3).
        of: a memory whose keys are drawn along with the batch's.
    """

    def __init__(self, count: int, by: _By = "chance", of: Memory | None = None) -> None:
        super().__init__()
        if count < 1 or by not in get_args(_By):
            raise ValueError(f'count is 1 or more, by "chance" or "distance", not {count} by {by!r}')
        self.count, self.by, self.of = count, by, of

    def choose(self, pairs: Pairs) -> Pairs:
        """The drawn ones of these candidates, keys per query `[N, 1 + count, D]`, the positive first."""
        return pairs.draw(self.count, self.by)
