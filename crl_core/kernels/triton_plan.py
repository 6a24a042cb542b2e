"""A loss as a formula of reductions of positives and negatives, without lists of pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any, NamedTuple, NoReturn, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.pairs import Candidates, Scores, Summed
from .formula import CandidateList, LossOfScores, Unavailable, tried_out


class Kind(IntEnum):
    """What a reduction sums: scores, ones, softplus(scale · s), or exp(scale · s) for a log-sum-exp."""

    SUM = 0
    COUNT = 1
    SOFTPLUS = 2
    LOGSUMEXP = 3


class Reduction(NamedTuple):
    kind: Kind
    scale: float = 1.0


_SUM, _COUNT = Reduction(Kind.SUM), Reduction(Kind.COUNT)
Reductions = tuple[Reduction, ...]


class Plan(NamedTuple):
    """The reductions of each query's positives and negatives, in the order of the vectors `[reductions, N]`."""

    positive: Reductions
    negative: Reductions

    @property
    def all(self) -> Reductions:
        return self.positive + self.negative

    def merged(self, parts: Sequence[Tensor], like: Tensor) -> Tensor:
        """The reductions of all candidates, from those of parts of the candidates, each `[parts, reductions, N]`."""
        logarithmic = torch.tensor([r.kind == Kind.LOGSUMEXP for r in self.all], device=like.device).unsqueeze(1)
        nothing = torch.where(logarithmic, -math.inf, 0.0).expand(1, -1, len(like))
        found = torch.cat([nothing, *parts])
        return torch.where(logarithmic, found.logsumexp(0), found.sum(0))


def plan_of(loss: LossOfScores, like: Tensor) -> Plan:
    """The reductions that the loss calls, from a trial run on zeros.

    Raises:
        Unavailable: it uses something else.
    """

    def learn() -> Plan:
        zeros = like.new_zeros(2, dtype=torch.float32)
        # The count and the sum of the positives are always needed: which queries count, and the score of a single one.
        sides = [_Side("positive", lambda _: zeros, [_SUM, _COUNT]), _Side("negative", lambda _: zeros, [])]
        _run(loss, *sides)
        return Plan(*(tuple(dict.fromkeys(side.asked)) for side in sides))

    return tried_out(loss, "plan", learn, lambda _: True)


class ValueAndSlopes(NamedTuple):
    """The values `[N]` of a loss, their terms, which queries count, and the slopes of reductions `[reductions, N]`."""

    values: Tensor
    terms: Tensor
    counted: Tensor
    slopes: Tensor


def evaluate(loss: LossOfScores, plan: Plan, reduced: Tensor) -> ValueAndSlopes:
    """The loss of queries with these reductions `[reductions, N]`; 0 for a query without positives."""
    count = reduced[plan.positive.index(_COUNT)]
    counted = count > 0
    # A query without positives gets 0 for its reductions, so that no formula can make it NaN.
    leaf = reduced.masked_fill(~counted, 0.0).requires_grad_()
    with torch.enable_grad():
        vectors = leaf.unbind(0)
        first = len(plan.positive)
        known = dict(zip(plan.positive, vectors[:first], strict=True))
        positive: Any = _Side("positive", known.__getitem__)
        if bool((count <= 1).all()):
            # One positive per query: all its reductions are functions of one score. With this score as the only leaf,
            # slopes don't cancel.
            positive = CandidateList(torch.arange(len(count), device=count.device), known[_SUM], len(count))
        rest = dict(zip(plan.negative, vectors[first:], strict=True))
        values, terms = _run(loss, positive, _Side("negative", rest.__getitem__))
        values = torch.where(counted, values, 0.0)
    slopes = torch.zeros_like(leaf)
    if values.requires_grad:
        (slopes,) = torch.autograd.grad(values, leaf, torch.ones_like(values))
    return ValueAndSlopes(
        values.detach(), torch.where(counted, terms.detach(), 0.0), counted, slopes.masked_fill(~counted, 0.0)
    )


def _run(loss: LossOfScores, positive: Any, negative: Any) -> Summed:
    found = loss(Scores(cast(Candidates, positive), cast(Candidates, negative)))
    return found if isinstance(found, Summed) else Summed(found, torch.ones_like(found))


class _Side:
    """Replaces the positives or the negatives: returns reductions that are `known`, and records which are called."""

    def __init__(self, name: str, known: Callable[[Reduction], Tensor], asked: list[Reduction] | None = None) -> None:
        self.name, self.asked = name, [] if asked is None else asked
        self._known = known

    def _get(self, reduction: Reduction) -> Tensor:
        self.asked.append(reduction)
        return self._known(reduction)

    def count(self) -> Tensor:
        return self._get(_COUNT)

    def mean(self) -> Tensor:
        return self._get(_SUM) / self._get(_COUNT).clamp(min=1)

    def logsumexp(self, scale: float | Tensor = 1.0) -> Tensor:
        if isinstance(scale, Tensor):
            raise Unavailable(f"the loss calls {self.name}.logsumexp with a scale that is a tensor")
        return self._get(Reduction(Kind.LOGSUMEXP, float(scale)))

    def sum(self, function: Callable[..., Tensor] | None = None, *vectors: Tensor) -> Tensor:
        if vectors:
            raise Unavailable(f"the loss calls {self.name}.sum with a function that depends on the query")
        return self._get(_SUM if function is None else _softplus(function, self.name))

    def __getattr__(self, name: str) -> NoReturn:
        raise Unavailable(f"the loss uses {self.name}.{name}")


_PROBES = torch.tensor([-300.0, -41.0, -7.3, -1.0, -0.2, 0.0, 0.4, 1.0, 2.9, 17.0, 300.0], dtype=torch.float64)


def _softplus(function: Callable[..., Tensor], name: str) -> Reduction:
    """The reduction that sums this function, which is recognised by its values, because it may be a lambda."""
    if function is F.softplus:
        return Reduction(Kind.SOFTPLUS, 1.0)
    for scale in (1.0, -1.0):
        if _agree(function, lambda s, scale=scale: F.softplus(scale * s)):
            return Reduction(Kind.SOFTPLUS, scale)
    raise Unavailable(f"the loss calls {name}.sum with a function other than softplus(s) and softplus(-s)")


def _agree(one: Callable[..., Tensor], other: Callable[..., Tensor]) -> bool:
    with torch.enable_grad():
        try:
            values = one(_PROBES.clone())
        except RuntimeError:  # it uses tensors of other shapes or on other devices
            return False
    # If another tensor than the scores needs a gradient, it would get none.
    return not values.requires_grad and torch.allclose(values, other(_PROBES), rtol=1e-12, atol=0.0)
