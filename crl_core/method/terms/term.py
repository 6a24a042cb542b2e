"""One term of the objective."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor

from ... import distributed
from ...contracts.parts import Loss, Score
from ...data.pairs import Pairs
from ...data.view import Embeddings


class Sides(NamedTuple):
    """The rows of a batch that a contrast reads.

    Attributes:
        query, key: of this process; `key` is None where all keys come from memories.
        keys: those of all processes.
        back: whether queries and keys are exchanged, for the other direction of a symmetric contrast.
        plain: whether the batch's keys are the only candidates.
    """

    query: Embeddings
    key: Embeddings | None
    keys: Embeddings | None
    plain: bool
    back: bool = False

    def turned(self) -> Sides:
        assert self.key is not None
        return Sides(self.key, self.query, distributed.gather(self.query), self.plain, not self.back)


class Contrasting(Protocol):
    """What a term reads of its contrast."""

    loss: Loss
    score: Score
    symmetric: bool
    kernel: str

    def candidates(self, sides: Sides, /) -> Pairs: ...


class Term(NamedTuple):
    """A mean over the counted queries, and how many were not counted."""

    value: Tensor
    ignored: Tensor


def mean(total: Tensor, counted: Tensor, ignored: Tensor) -> Term:
    """The mean over what counts on all processes, such that the average of the processes' gradients is its gradient."""
    world, value = distributed.world_size(), total / distributed.total(counted).clamp(min=1)
    return Term(value if world == 1 else value * world, distributed.total(ignored))
