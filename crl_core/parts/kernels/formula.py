"""A loss as a formula of reductions: what it asks for, and its value and slopes once these are known.

The positives of a query are few, and are kept as a list; most of its negatives are only ever seen
as tiles of scores, of which a kernel keeps one number for every query and reduction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple, NoReturn, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ...pairs import Candidates, Scores, Summed

LossOfScores = Callable[[Scores], "Tensor | Summed"]


class Asked(NamedTuple):
    """One reduction over a query's negatives that a formula asks for."""

    name: str
    argument: Any = None


class Unavailable(Exception):
    """The formula asks for what only a body with all scores at once can give."""


class Few:
    """The candidates of n queries as a list: `row` `[P]` says whose the scores `values` `[P]` are.

    Without candidates, a query's reductions are those of nothing, or with `harmless` all zero.
    """

    def __init__(self, row: Tensor, values: Tensor, queries: int, harmless: bool = False) -> None:
        self.row, self.values, self.queries, self.harmless = row, values, queries, harmless

    @cached_property
    def one_each(self) -> bool:
        """Whether every query has one candidate, in order: the usual case, without any sums."""
        return len(self.row) == self.queries and bool((self.row[1:] > self.row[:-1]).all())

    @cached_property
    def counts(self) -> Tensor:
        if self.one_each:
            return torch.ones_like(self.values)
        return self._zeros().index_add_(0, self.row, torch.ones_like(self.values))

    def count(self) -> Tensor:
        return self.counts

    def logsumexp(self, scale: float = 1.0) -> Tensor:
        values = self.values if scale == 1.0 else self.values * scale
        if self.one_each:
            return values
        highest = self._extreme(values.detach(), "amax", -math.inf)
        shift = highest.nan_to_num(neginf=0.0)
        found = self._add((values - shift[self.row]).exp()).log() + shift
        return self._empty(found)

    def sum(self, function: Callable[..., Tensor] | None = None, *vectors: Tensor) -> Tensor:
        if function is None:
            return self._add(self.values)
        return self._add(function(self.values, *(vector[self.row] for vector in vectors)))

    def mean(self) -> Tensor:
        return self.values if self.one_each else self._add(self.values) / self.counts.clamp(min=1)

    def max(self) -> Tensor:
        return self.values if self.one_each else self._empty(self._extreme(self.values, "amax", -math.inf))

    def min(self) -> Tensor:
        return self.values if self.one_each else self._empty(self._extreme(self.values, "amin", math.inf))

    def _zeros(self) -> Tensor:
        return self.values.new_zeros(self.queries)

    def _add(self, values: Tensor) -> Tensor:
        return values if self.one_each else self._zeros().index_add(0, self.row, values)

    def _extreme(self, values: Tensor, which: str, start: float) -> Tensor:
        return torch.full_like(self._zeros(), start).scatter_reduce(0, self.row, values, which)

    def _empty(self, reduced: Tensor) -> Tensor:
        return reduced.masked_fill(self.counts == 0, 0.0) if self.harmless else reduced


class Tiled:
    """The negatives of n queries: some as a list, the rest as reductions that are known already.

    The reductions are handed out in the order in which the formula asked for them before.
    """

    def __init__(self, few: Few | None, reduced: Sequence[Tensor]) -> None:
        self._few, self._reduced = few, iter(reduced)

    def count(self) -> Tensor:
        rest = next(self._reduced)
        return rest if self._few is None else rest + self._few.count()

    def logsumexp(self, scale: float = 1.0) -> Tensor:
        rest = next(self._reduced)
        return rest if self._few is None else _logaddexp(rest, self._few.logsumexp(scale))

    def sum(self, function: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        rest = next(self._reduced)
        return rest if self._few is None else rest + self._few.sum(function)

    def max(self) -> Tensor:
        rest = next(self._reduced)
        return rest if self._few is None else torch.maximum(rest, self._few.max())


def _logaddexp(one: Tensor, other: Tensor) -> Tensor:
    # torch's own has NaN gradients where both are -inf.
    shift = torch.maximum(one, other).detach().nan_to_num(neginf=0.0)
    total = (one - shift).exp() + (other - shift).exp()
    nothing = total == 0
    return (total.masked_fill(nothing, 1.0).log() + shift).masked_fill(nothing, -math.inf)


class _Listener:
    """Stands in for the negatives, and writes down what it is asked for."""

    def __init__(self, like: Tensor, asked: list[Asked]) -> None:
        self._like, self._asked = like, asked

    def count(self) -> Tensor:
        return self._note("count")

    def logsumexp(self, scale: float = 1.0) -> Tensor:
        return self._note("logsumexp", scale)

    def sum(self, function: Callable[..., Tensor] | None = None, *vectors: Tensor) -> Tensor:
        if vectors:
            raise Unavailable("a sum over negatives that depends on the query")
        return self._note("sum", function)

    def max(self) -> Tensor:
        return self._note("max")

    def _note(self, name: str, argument: Any = None) -> Tensor:
        self._asked.append(Asked(name, argument))
        return self._like

    def __getattr__(self, name: str) -> NoReturn:
        raise Unavailable(f"negative.{name}")


_remembered: WeakKeyDictionary[nn.Module, tuple[dict[str, Any], list[Asked]]] = WeakKeyDictionary()


def asked_by(loss: LossOfScores, like: Tensor) -> list[Asked]:
    """The reductions over negatives of which the loss is a formula, learned by running it on two zeros.

    A module that is nothing but settings is remembered, until one of them changes.

    Raises:
        Unavailable: it asks for another.
    """
    settings = _settings(loss)
    if settings is not None and (known := _remembered.get(loss)) is not None and known[0] == settings:  # type: ignore
        return known[1]
    asked: list[Asked] = []
    zeros = like.new_zeros(2)
    positive = Few(torch.arange(2, device=like.device), zeros, 2)
    with torch.no_grad():
        _scores(loss, positive, _Listener(zeros, asked))
    if settings is not None:
        _remembered[loss] = settings, asked  # type: ignore
    return asked


def _settings(loss: LossOfScores) -> dict[str, Any] | None:
    """What makes a loss the formula that it is; None where that is more than plain values."""
    if not isinstance(loss, nn.Module):
        return None
    settings = {name: value for name, value in vars(loss).items() if name not in _OF_MODULES}
    plain = all(isinstance(value, (bool, int, float, str)) for value in settings.values())
    return settings if plain and not (loss._modules or loss._parameters or loss._buffers) else None


_OF_MODULES = frozenset(vars(nn.Module())) - {"training"}


def _scores(loss: LossOfScores, positive: Any, negative: Any) -> Summed:
    found = loss(Scores(cast(Candidates, positive), cast(Candidates, negative)))
    return found if isinstance(found, Summed) else Summed(found, torch.ones_like(found))


class Evaluated(NamedTuple):
    """A formula's values `[n]` with their terms, who counts, and the slopes by each score and each reduction."""

    values: Tensor
    terms: Tensor
    counted: Tensor
    positive: Tensor
    negative: Tensor
    reduced: Sequence[Tensor]


def evaluate(loss: LossOfScores, positive: Few, negative: Few | None, reduced: Sequence[Tensor]) -> Evaluated:
    """The loss of queries with these positives, listed negatives, and reductions over the other negatives.

    A query without a positive doesn't count, and gives 0.
    """
    leaves = list(reduced)
    if not positive.one_each:
        # A query that doesn't count gets harmless values, so that no formula can make it NaN.
        leaves = [vector.masked_fill(positive.counts == 0, 0.0) for vector in reduced]
    sides = [positive.values] + ([] if negative is None else [negative.values])
    for leaf in (*sides, *leaves):
        leaf.requires_grad_()
    with torch.enable_grad():
        whole: Any = Tiled(negative, leaves) if reduced else negative
        values, terms = _scores(loss, positive, whole)
        if not positive.one_each:
            values, terms = (torch.where(positive.counts > 0, found, 0.0) for found in (values, terms))
    slopes = _slopes(values, [*sides, *leaves])
    of_negative = slopes[1] if negative is not None else positive.values.new_zeros(0)
    return Evaluated(
        values.detach(), terms.detach(), positive.counts > 0, slopes[0], of_negative, slopes[len(sides) :]
    )


def _slopes(values: Tensor, leaves: Sequence[Tensor]) -> Sequence[Tensor]:
    if not values.requires_grad:
        return [torch.zeros_like(leaf) for leaf in leaves]
    return torch.autograd.grad(values, leaves, torch.ones_like(values), allow_unused=True, materialize_grads=True)
