"""The contract of kernels: each computes the sum of a loss over all queries in its own way."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from ..data.pairs import Pairs, Scores, Summed
from .parts import Score


@runtime_checkable
class Kernel(Protocol):
    """One way to compute the operation "sum of a loss over all queries" (kind `kernel`)."""

    def unsupported(self, problem: Problem, /) -> list[str]:
        """Why it can't run on these tensors; empty where it can."""

    def preference(self, problem: Problem, /) -> float:
        """Among the kernels that can, the highest runs."""

    def __call__(self, problem: Problem, /) -> Outcome: ...


@runtime_checkable
class Spanning(Kernel, Protocol):
    """A kernel that serves both directions in one traversal where several processes share the work."""

    def spans(self, problem: Problem, /) -> bool:
        """Whether it can, for a symmetric problem of this process's queries and the keys of all."""

    def across(self, problem: Problem, own: slice, /) -> Outcome:
        """Of this process's queries and of its keys, `own`, which are queries too.

        The total's gradient is that of all processes' totals together: all have to weigh them alike.
        """


class Problem(NamedTuple):
    """What a kernel is asked to compute."""

    pairs: Pairs
    score: Score
    loss: Callable[[Scores], Tensor | Summed]
    symmetric: bool = False
    """Whether the keys, in one block, are queries too; theirs follow the queries' values."""


class Outcome(NamedTuple):
    """What a kernel returns.

    `total` is the differentiable sum over the counted queries; `values` `[N]` are the single
    losses, without gradient (0 where not counted); `counted` `[N]` says which queries have a positive;
    `terms` `[N]` of how many terms each value is the sum: 1, unless the loss says otherwise.
    """

    total: Tensor
    values: Tensor
    counted: Tensor
    terms: Tensor
