"""A loss as a formula of reductions: which reductions it calls, and its value and slopes when these are known.

A query has few positives, which are a list. Most of its negatives exist only in tiles of scores, from
which a kernel keeps one number per query and reduction. A slope is the derivative of the loss with
respect to a score or a reduction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple, NoReturn, TypeVar, cast
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..contracts.kernels import Problem
from ..data.listing import PairList
from ..data.pairs import Candidates, OfKeys, Scores, Summed

LossOfScores = Callable[[Scores], "Tensor | Summed"]
Known = TypeVar("Known")


class Asked(NamedTuple):
    """A reduction of the negatives that a formula calls."""

    name: str
    argument: Any = None


ONE_SUM = [Asked("logsumexp", 1.0)]  # the only reduction for which a tile can serve its rows and its columns


class Unavailable(Exception):
    """The loss can't be computed without all scores at once; the message says why."""


class CandidateList:
    """The candidates of n queries as a list: `values` `[P]` are scores, and `row` `[P]` is the query of each.

    The reductions of a query without candidates are those of an empty list, or 0 with `harmless`. If the queries are
    all queries and also the keys, `column` `[P]` is the key of each candidate. `weight` `[P]` are the weights of a soft
    relation.
    """

    def __init__(
        self, row: Tensor, values: Tensor, queries: int, harmless: bool = False, column: Tensor | None = None,
        weight: Tensor | None = None,
    ) -> None:  # fmt: skip
        self.row, self.values, self.queries, self.harmless = row, values, queries, harmless
        self.column, self.weight = column, None if weight is None else weight.to(values.dtype)

    @cached_property
    def one_each(self) -> bool:
        """Whether each query has one candidate, in order: the usual case, which needs no sums."""
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
        reduced = self._add((values - shift[self.row]).exp()).log() + shift
        return self._empty(reduced)

    def sum(self, function: Callable[..., Tensor] | None = None, *vectors: Tensor | OfKeys) -> Tensor:
        if function is None:
            return self._add(self.values)
        beside = (more.vector[self.column] if isinstance(more, OfKeys) else more[self.row] for more in vectors)
        return self._add(function(self.values, *beside))

    def mean(self) -> Tensor:
        if self.one_each:
            return self.values
        if self.weight is None:
            return self._add(self.values) / self.counts.clamp(min=1)
        some = self._add(self.weight)
        return self._add(self.weight * self.values) / some.masked_fill(some == 0, 1.0)

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


def both_sides(listed: PairList, values: Tensor, queries: int, keys: int) -> CandidateList:
    """The positives of the rows, and below them those of the columns, which are also queries."""
    row = torch.cat([listed.row, listed.column + queries])
    weight = None if listed.weight is None else torch.cat([listed.weight, listed.weight])
    return CandidateList(row, torch.cat([values, values]), queries + keys, harmless=True, weight=weight)


class KnownNegatives:
    """The negatives of n queries: some as a list, the others as reductions that are already computed.

    The reductions are returned in the order in which the formula called them before.
    """

    def __init__(self, listed: CandidateList | None, reduced: Sequence[Tensor]) -> None:
        self._listed, self._reduced = listed, iter(reduced)

    def count(self) -> Tensor:
        rest = next(self._reduced)
        return rest if self._listed is None else rest + self._listed.count()

    def logsumexp(self, scale: float = 1.0) -> Tensor:
        rest = next(self._reduced)
        return rest if self._listed is None else _logaddexp(rest, self._listed.logsumexp(scale))

    def sum(self, function: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        rest = next(self._reduced)
        return rest if self._listed is None else rest + self._listed.sum(function)

    def max(self) -> Tensor:
        rest = next(self._reduced)
        return rest if self._listed is None else torch.maximum(rest, self._listed.max())


def _logaddexp(one: Tensor, other: Tensor) -> Tensor:
    # torch's own function has NaN gradients if both are -inf.
    shift = torch.maximum(one, other).detach().nan_to_num(neginf=0.0)
    total = (one - shift).exp() + (other - shift).exp()
    nothing = total == 0
    return (total.masked_fill(nothing, 1.0).log() + shift).masked_fill(nothing, -math.inf)


class _Recorder:
    """Replaces the negatives in a trial run, and records which reductions the loss calls."""

    def __init__(self, like: Tensor, asked: list[Asked]) -> None:
        self._like, self._asked = like, asked

    def count(self) -> Tensor:
        return self._note("count")

    def logsumexp(self, scale: float = 1.0) -> Tensor:
        return self._note("logsumexp", scale)

    def sum(self, function: Callable[..., Tensor] | None = None, *vectors: Tensor) -> Tensor:
        if vectors:
            raise Unavailable("the loss calls a sum over negatives that depends on the query")
        return self._note("sum", function)

    def max(self) -> Tensor:
        return self._note("max")

    def _note(self, name: str, argument: Any = None) -> Tensor:
        self._asked.append(Asked(name, argument))
        return self._like

    def __getattr__(self, name: str) -> NoReturn:
        raise Unavailable(f"the loss uses negative.{name}")


# For losses whose attributes are only settings: the settings, and the result of the trial run.
_learned: WeakKeyDictionary[Any, tuple[dict[str, Any], dict[str, Any]]] = WeakKeyDictionary()


def tried_out(loss: LossOfScores, what: str, learn: Callable[[], Known], alone: Callable[[Known], bool]) -> Known:
    """The result of `learn`, which runs the loss on trial; computed once for the same settings of the loss.

    Args:
        alone: whether the result can be kept without keeping the loss alive.

    Raises:
        Unavailable: the loss has state, which a trial could change.
    """
    settings = _settings(loss)
    if settings is None:
        state: dict[str, Any] = getattr(loss, "state_dict", dict)()
        if state:
            raise Unavailable(f"the loss {type(loss).__name__} has state ({', '.join(state)})")
        with torch.no_grad():
            return learn()
    before, known = _learned.get(loss, (None, {}))
    if before != settings:
        known = {}
    if what not in known:
        with torch.no_grad():
            found = learn()
        if not alone(found):
            return found
        known[what] = found
        _learned[loss] = settings, known
    return cast(Known, known[what])


def _settings(loss: object) -> dict[str, Any] | None:
    """The attributes that determine a loss; None if they are more than plain values."""
    if not isinstance(loss, nn.Module) or loss._modules or loss._parameters or loss._buffers:
        return None
    settings = {name: vars(loss)[name] for name in vars(loss).keys() - _OF_MODULES}
    return settings if all(isinstance(value, (bool, int, float, str)) for value in settings.values()) else None


_OF_MODULES = frozenset(vars(nn.Module())) - {"training"}


def asked_by(loss: LossOfScores, like: Tensor) -> list[Asked]:
    """The reductions of negatives that the loss calls, from a trial run on two zeros.

    Raises:
        Unavailable: it uses more than reductions.
    """

    def learn() -> list[Asked]:
        asked: list[Asked] = []
        zeros, two = like.new_zeros(2), torch.arange(2, device=like.device)
        _scores(loss, CandidateList(two, zeros, 2, column=two), _Recorder(zeros, asked))
        return asked

    return tried_out(loss, "asked", learn, _without_functions)


def _without_functions(asked: list[Asked]) -> bool:
    # A function that belongs to the loss would keep it alive.
    return all(a.argument is F.softplus or not callable(a.argument) for a in asked)


def needs_all_scores(problem: Problem) -> list[str]:
    """Why the loss needs all scores at once, so that a kernel with pieces of the negatives can't compute it."""
    try:
        asked_by(problem.loss, problem.pairs.query.z)
    except Unavailable as reason:
        return [str(reason)]
    return []


def _scores(loss: LossOfScores, positive: CandidateList, negative: Any) -> Summed:
    itself = positive.column is not None
    values = loss(Scores(cast(Candidates, positive), cast(Candidates, negative), itself=itself))
    return values if isinstance(values, Summed) else Summed(values, torch.ones_like(values))


def value_of(
    loss: LossOfScores, positive: CandidateList, negative: CandidateList | None, reduced: Sequence[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """The values `[n]` of the queries, their terms, and which have a positive; a query without one has the value 0.

    Args:
        negative: listed negatives, or None if all negatives are in `reduced`, the reductions of the others.
    """
    if positive.one_each:
        everybody = torch.ones_like(positive.row, dtype=torch.bool)
        return (*_scores(loss, positive, KnownNegatives(negative, reduced) if reduced else negative), everybody)
    counted = positive.counts > 0
    # A query without positives gets 0 for its reductions, so that no formula can make it NaN.
    harmless = [vector.masked_fill(~counted, 0.0) for vector in reduced]
    values, terms = _scores(loss, positive, KnownNegatives(negative, harmless) if reduced else negative)
    return torch.where(counted, values, 0.0), torch.where(counted, terms, 0.0), counted


class ValueAndSlopes(NamedTuple):
    """The values `[n]` of a loss, their terms, which queries count, and the slopes for each score and reduction."""

    values: Tensor
    terms: Tensor
    counted: Tensor
    positive: Tensor
    negative: Tensor
    reduced: Sequence[Tensor]


def evaluate(
    loss: LossOfScores, positive: CandidateList, negative: CandidateList | None, reduced: Sequence[Tensor]
) -> ValueAndSlopes:
    """As `value_of`, with the slopes of the sum of the values."""
    leaves = [positive.values, *([] if negative is None else [negative.values]), *reduced]
    for leaf in leaves:
        leaf.requires_grad_()
    with torch.enable_grad():
        values, terms, counted = value_of(loss, positive, negative, reduced)
    if values.requires_grad:
        ones = torch.ones_like(values)
        slopes = torch.autograd.grad(values, leaves, ones, allow_unused=True, materialize_grads=True)
    else:
        slopes = tuple(map(torch.zeros_like, leaves))
    rest = slopes[len(slopes) - len(reduced) :]
    of_negative = positive.values.new_zeros(0) if negative is None else slopes[1]
    return ValueAndSlopes(values.detach(), terms.detach(), counted, slopes[0], of_negative, rest)
