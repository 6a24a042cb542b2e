"""What every kind of term uses: the rows of a contrast, and the mean over all processes."""

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
        query, key: the rows of this process; `key` is None if all keys come from memories.
        keys: the keys of all processes.
        plain: whether the batch's keys are the only candidates.
        back: whether queries and keys are exchanged, for the other direction of a symmetric contrast.
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
    """The attributes of a contrast that a term uses."""

    loss: Loss
    score: Score
    symmetric: bool
    kernel: str

    def candidates(self, sides: Sides, /) -> Pairs: ...


class TermValue(NamedTuple):
    """The value of a term, a mean over the counted queries; and how many queries were left out."""

    value: Tensor
    ignored: Tensor


def mean(total: Tensor, counted: Tensor, ignored: Tensor) -> TermValue:
    """The mean over all processes, scaled so that the average of the processes' gradients is its gradient."""
    world, value = distributed.world_size(), total / distributed.total(counted).clamp(min=1)
    return TermValue(value if world == 1 else value * world, distributed.total(ignored))
