from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ...pairs import Candidates, Pairs, Scores
from ...protocols import FactorisedScore, Outcome, Problem


class Blockwise:
    """Strips of queries against all keys, for losses made of log-sum-exp, means and counts.

    Only one strip of scores exists at a time, and the gradient is made in the same sweep: memory
    grows with N + M instead of N·M, and nothing is computed twice.
    """

    def unsupported(self, problem: Problem) -> list[str]:
        reasons = []
        if problem.pairs.per_query:
            reasons.append("the keys are per query, so their scores are no matrix product")
        if not isinstance(problem.score, FactorisedScore):
            reasons.append(f"the score {type(problem.score).__name__} is no matrix product (it has no `factors`)")
        state: dict[str, Any] = getattr(problem.loss, "state_dict", dict)()
        if state:
            reasons.append(f"the loss {type(problem.loss).__name__} has state ({', '.join(state)})")
        # Only a loss without state may be tried out, to see of what it is a formula.
        return reasons or _beyond(problem)

    def preference(self, problem: Problem) -> float:
        return 2.0

    def __call__(self, problem: Problem) -> Outcome:
        pairs = problem.pairs
        score = cast(FactorisedScore, problem.score)
        query = score.factors(pairs.query.z, pairs.keys[0].z[:0])[0]
        keys = [score.factors(pairs.query.z[:0], block.z)[1] for block in pairs.keys]
        return Outcome(*_Sweep.apply(pairs, problem.loss, query, *keys))


class _Reduction(NamedTuple):
    side: str
    name: str


class _Unavailable(Exception):
    """The loss asked for a reduction that this body doesn't have."""


class _Side:
    """Stands in for `Candidates` where only reductions exist."""

    def __init__(self, side: str, find: Callable[[_Reduction], Tensor]) -> None:
        self._side, self._find = side, find

    def count(self) -> Tensor:
        return self._find(_Reduction(self._side, "count"))

    def logsumexp(self) -> Tensor:
        return self._find(_Reduction(self._side, "logsumexp"))

    def mean(self) -> Tensor:
        return self._find(_Reduction(self._side, "mean"))

    def __getattr__(self, name: str) -> NoReturn:
        raise _Unavailable(f"{self._side}.{name}")


def _evaluate(loss: Callable[[Scores], Tensor], find: Callable[[_Reduction], Tensor]) -> Tensor:
    return loss(Scores(cast(Candidates, _Side("positive", find)), cast(Candidates, _Side("negative", find))))


def _asked(loss: Callable[[Scores], Tensor], like: Tensor) -> frozenset[_Reduction]:
    """The reductions of which the loss is a formula, learned by running it on zeros."""
    asked: set[_Reduction] = set()

    def find(reduction: _Reduction) -> Tensor:
        asked.add(reduction)
        return like.new_zeros(2)

    with torch.no_grad():
        _evaluate(loss, find)
    return frozenset(asked)


def _beyond(problem: Problem) -> list[str]:
    """The first reduction that the loss asks for and this body doesn't have."""
    try:
        _asked(problem.loss, problem.pairs.query.z)
    except _Unavailable as reduction:
        return [f"the loss asks for {reduction}; this body has logsumexp, mean and count"]
    return []


class _Sweep(torch.autograd.Function):
    """The sum of the loss over the queries, with its gradient made on the way."""

    @staticmethod
    def forward(
        ctx: Any, pairs: Pairs, loss: Callable[[Scores], Tensor], query: Tensor, *keys: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        wide = torch.promote_types(query.dtype, torch.float32)
        q, ks = query.to(wide), [key.to(wide) for key in keys]
        d_query, *d_keys = (
            torch.zeros_like(x) if wanted else None
            for x, wanted in zip((q, *ks), ctx.needs_input_grad[2:], strict=True)
        )
        asked = _asked(loss, q)
        values = q.new_zeros(len(q))
        counted = torch.zeros(len(q), dtype=torch.bool, device=q.device)
        for rows in pairs.strips():
            scores = torch.cat([q[rows] @ k.T for k in ks], dim=1) if len(ks) > 1 else q[rows] @ ks[0].T
            strip = _Strip(scores, *pairs.masks(rows), asked)
            losses = strip.losses(loss)
            values[rows], counted[rows] = losses.detach(), strip.counted
            if d_query is None and not any(d is not None for d in d_keys):
                continue
            gradient = torch.split(strip.gradient(losses), [len(k) for k in ks], dim=1)
            for weights, k, d_key in zip(gradient, ks, d_keys, strict=True):
                if d_query is not None:
                    d_query[rows].addmm_(weights, k)
                if d_key is not None:
                    d_key.addmm_(weights.T, q[rows])
        ctx.save_for_backward(
            *(None if d is None else d.to(x.dtype) for d, x in zip((d_query, *d_keys), (query, *keys), strict=True))
        )
        ctx.mark_non_differentiable(values, counted)
        return values.sum(), values, counted

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, total: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        return (None, None, *(None if d is None else d * total.to(d.dtype) for d in ctx.saved_tensors))


class _Strip:
    """The scores `[n, M]` of some queries with all keys, the reductions asked for, and the way back."""

    def __init__(self, scores: Tensor, positive: Tensor, negative: Tensor, asked: frozenset[_Reduction]) -> None:
        self.scores = scores
        self.sides: dict[str, _Few | _Many] = {}
        for name, mask in (("positive", positive), ("negative", negative)):
            counts = mask.sum(1)
            few = int(counts.sum()) * 16 <= mask.numel()
            self.sides[name] = _Few(scores, mask, counts) if few else _Many(scores, mask, counts)
        self.counted = self.sides["positive"].counts > 0
        self.reduced = {r: getattr(self.sides[r.side], r.name)() for r in sorted(asked)}

    def losses(self, loss: Callable[[Scores], Tensor]) -> Tensor:
        """The loss of every query `[n]`, differentiable by the reductions."""
        with torch.enable_grad():
            for vector in self.reduced.values():
                # A query that doesn't count gets harmless values, so that no formula can make it NaN.
                vector.masked_fill_(~self.counted, 0.0).requires_grad_()
            return torch.where(self.counted, _evaluate(loss, self.reduced.__getitem__), 0.0)

    def gradient(self, losses: Tensor) -> Tensor:
        """d sum(losses) / d scores `[n, M]`: the slope by each reduction, spread over its candidates."""
        slopes = torch.autograd.grad(losses, list(self.reduced.values()), torch.ones_like(losses), allow_unused=True)
        gradient: Tensor | None = None
        for reduction, slope in zip(self.reduced, slopes, strict=True):
            if slope is not None and reduction.name != "count":
                gradient = self.sides[reduction.side].spread(reduction.name, slope.unsqueeze(1), gradient)
        return torch.zeros_like(self.scores) if gradient is None else gradient


class _Many:
    """The reductions of a side to which many of the scores belong: by mask."""

    def __init__(self, scores: Tensor, mask: Tensor, counts: Tensor) -> None:
        self.scores, self.mask, self.counts = scores, mask, counts
        self.softmax = scores

    def count(self) -> Tensor:
        return self.counts.to(self.scores.dtype)

    def mean(self) -> Tensor:
        return (self.scores * self.mask).sum(1) / self.counts.clamp(min=1)

    def logsumexp(self) -> Tensor:
        weights = self.scores.masked_fill(~self.mask, -math.inf)
        # A row without candidates has the maximum -inf, and -inf - -inf would be NaN.
        highest = weights.amax(1, keepdim=True).clamp_(min=torch.finfo(weights.dtype).min)
        weights.sub_(highest).exp_()
        total = weights.sum(1, keepdim=True)
        self.softmax = weights.div_(total.clamp(min=torch.finfo(weights.dtype).tiny))
        return (total.log_() + highest).squeeze(1)

    def spread(self, name: str, slope: Tensor, onto: Tensor | None) -> Tensor:
        """`onto + slope [n, 1] · d reduction / d scores`; None stands for zeros."""
        if name == "mean":
            share = self.mask * (slope / self.counts.clamp(min=1).unsqueeze(1))
            return share if onto is None else onto.add_(share)
        return self.softmax.mul_(slope) if onto is None else onto.addcmul_(self.softmax, slope)


class _Few:
    """The same for a side to which few of the scores belong: by index."""

    def __init__(self, scores: Tensor, mask: Tensor, counts: Tensor) -> None:
        self.shape, self.counts = scores.shape, counts
        self.row, self.column = mask.nonzero(as_tuple=True)
        self.values = scores[self.row, self.column]
        self.softmax = self.values

    def _per_row(self, value: float) -> Tensor:
        return self.values.new_full((self.shape[0],), value)

    def count(self) -> Tensor:
        return self.counts.to(self.values.dtype)

    def mean(self) -> Tensor:
        return self._per_row(0.0).index_add_(0, self.row, self.values) / self.counts.clamp(min=1)

    def logsumexp(self) -> Tensor:
        highest = self._per_row(-math.inf).scatter_reduce_(0, self.row, self.values, "amax")
        weights = (self.values - highest[self.row]).exp_()
        total = self._per_row(0.0).index_add_(0, self.row, weights)
        self.softmax = weights.div_(total[self.row])
        return total.log_() + highest.nan_to_num_(neginf=0.0)

    def spread(self, name: str, slope: Tensor, onto: Tensor | None) -> Tensor:
        onto = slope.new_zeros(self.shape) if onto is None else onto
        share = self.count().reciprocal()[self.row] if name == "mean" else self.softmax
        # Each pair occurs once, so plain indexing adds.
        onto[self.row, self.column] += share * slope[self.row, 0]
        return onto
