"""The contract of kernels: each is an algorithm for the sum of a loss over all queries."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from ..data.pairs import Pairs, Scores, Summed
from .parts import Score


@runtime_checkable
class Kernel(Protocol):
    """An algorithm that computes the sum of a loss over all queries (kind `kernel`)."""

    def unsupported(self, problem: Problem, /) -> list[str]:
        """The reasons why it can't run on these tensors; empty if it can."""

    def preference(self, problem: Problem, /) -> float:
        """Of the kernels that can run, the one with the highest preference runs."""

    def __call__(self, problem: Problem, /) -> Outcome: ...


@runtime_checkable
class Spanning(Kernel, Protocol):
    """A kernel that computes both directions of a symmetric contrast at once, on several processes."""

    def spans(self, problem: Problem, /) -> bool:
        """Whether it can do this, for the queries of this process and the keys of all processes."""

    def across(self, problem: Problem, own: slice, /) -> Outcome:
        """The outcome for the queries of this process, and for its keys, `own`, which are also queries.

        The gradient of the total is the gradient of the sum of all processes' totals. So all processes have to give
        their totals the same weight.
        """


class Problem(NamedTuple):
    """What a kernel has to compute."""

    pairs: Pairs
    score: Score
    loss: Callable[[Scores], Tensor | Summed]
    symmetric: bool = False
    """Whether the keys, in one block, are also queries. Their values then come after the queries' values."""


class Outcome(NamedTuple):
    """What a kernel returns.

    Attributes:
        total: the sum of the loss over the counted queries, with gradient.
        values: `[N]`, the loss of each query, without gradient; 0 if the query is not counted.
        counted: `[N]`, bool: which queries have a positive.
        terms: `[N]`, the number of terms in each value: 1, unless the loss returns `Summed`.
    """

    total: Tensor
    values: Tensor
    counted: Tensor
    terms: Tensor
