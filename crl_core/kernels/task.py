"""The input and the result of a sweep over all scores, in strips or tiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import attrs
import torch
from torch import Tensor

from ..data.listing import PairList
from ..errors import CrlError
from .formula import ONE_SUM, Asked, LossOfScores

SAFE = 60.0  # exp of scores up to this doesn't overflow or vanish in float32, even in sums of millions


@attrs.frozen(eq=False)
class Task:
    """The input of a sweep: factors of the scores, and the candidates in each block of keys as lists.

    Attributes:
        query, keys: `[N, D]` and blocks `[M, D]`, in at least float32.
        lists: the positives and the negatives of each block.
        asked: the reductions of negatives, for blocks whose list has the pairs that are not negatives.
        alone: whether the keys are exactly the queries.
        mirrored: whether they are, and the table of scores and the negatives are symmetric.
    """

    loss: LossOfScores
    query: Tensor
    keys: Sequence[Tensor]
    lists: Sequence[tuple[PairList, PairList]]
    asked: Sequence[Asked]
    alone: bool
    mirrored: bool

    @cached_property
    def itself(self) -> bool:
        """Whether the first block of keys is the same tensor as the queries, and shares its gradient."""
        return self.keys[0] is self.query

    @cached_property
    def tiled(self) -> list[int]:
        """The blocks for which the loss needs reductions."""
        blocks = zip(self.keys, self.lists, strict=True)
        return [i for i, (keys, (_, negative)) in enumerate(blocks) if negative.complement and self.asked and len(keys)]

    @cached_property
    def one(self) -> bool:
        """Whether there is one block, with reductions that depend on all of its scores."""
        names = {asked.name for asked in self.asked}
        return self.tiled == [0] and len(self.keys) == 1 and "max" not in names and names != {"count"}

    @property
    def one_sum(self) -> bool:
        """Whether the only reduction is one log-sum-exp, so that a tile can serve its rows and its columns."""
        return self.one and self.asked == ONE_SUM

    def gradients(self, wanted: Sequence[bool], turned: bool = False) -> tuple[Tensor | None, list[Tensor | None]]:
        """Zeros for the gradient of the queries and of each block; None if it isn't needed.

        Args:
            turned: whether those of the blocks are stored by column, which is faster for wide tiles.
        """
        d_query = torch.zeros_like(self.query) if wanted[0] else None
        d_keys: list[Tensor | None] = [d_query] if self.itself else []
        for key, want in list(zip(self.keys, wanted[1:], strict=True))[len(d_keys) :]:
            d_keys.append(_zeros(key, turned) if want else None)
        return d_query, d_keys

    def reversed(self) -> Task:
        """The keys as queries, and the queries as keys."""
        ((positive, negative),) = self.lists
        lists = [(positive.reversed(), negative.reversed())]
        return Task(self.loss, self.keys[0], [self.query], lists, self.asked, self.alone, self.mirrored)


def _zeros(like: Tensor, turned: bool) -> Tensor:
    return like.new_zeros(like.shape[::-1]).T if turned else torch.zeros_like(like)


class Swept(NamedTuple):
    """The loss of each query, its terms, whether it counts, and the gradients of the sum; None if not needed."""

    values: Tensor
    terms: Tensor
    counted: Tensor
    d_query: Tensor | None
    d_keys: list[Tensor | None]

    def joined(self, back: Swept) -> Swept:
        """This result and that of a sweep in the other direction: its queries come after, and gradients are added."""
        pairs = ((self.d_query, back.d_keys[0]), (self.d_keys[0], back.d_query))
        d_query, d_key = (None if one is None or other is None else one + other for one, other in pairs)
        values, terms, counted = (torch.cat(two) for two in zip(self[:3], back[:3], strict=True))
        return Swept(values, terms, counted, d_query, [d_key])


def push_pairs(
    slope: Tensor, query: Tensor, key: Tensor, row: Tensor, column: Tensor, d_query: Tensor | None, d_key: Tensor | None
) -> None:
    """Adds the gradient of listed scores with the slopes `slope` `[P]`."""
    slope = slope.unsqueeze(1)
    if d_query is not None:
        d_query.index_add_(0, row, key[column] * slope)
    if d_key is not None:
        d_key.index_add_(0, column, query[row] * slope)


def once_only() -> None:
    """Call it in a backward that autograd can't follow.

    Raises:
        CrlError: a second derivative is needed.
    """
    if torch.is_grad_enabled():
        raise CrlError('this kernel has no second derivative (create_graph): use the kernel "dense"')


def exp_(scores: Tensor) -> Tensor:
    """exp of the scores, in place."""
    # On CPUs torch's exp2 is several times faster than its exp.
    return scores.mul_(1 / math.log(2)).exp2_()


def highest(query: Tensor, keys: Sequence[Tensor]) -> float:
    """A bound of the absolute values of all scores."""
    lengths = [float(torch.linalg.vector_norm(rows, dim=1).max()) if len(rows) else 0.0 for rows in (query, *keys)]
    return lengths[0] * max(lengths[1:], default=0.0)
