"""The problems on which kernels are checked, and their comparison with the dense kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ...contracts.kernels import Kernel, Outcome, Problem
from ...data.pairs import Pairs, Scores
from ...data.relation import Relation, same
from ...data.view import Embeddings
from ...kernels.dense import Dense
from ...parts.losses.info_nce import InfoNCE
from ...parts.scores.cosine import Cosine
from ...parts.scores.l2 import L2
from ..outcome import all_same, expect, same_numbers

LABEL = same("label") & ~same("row")


class Margin(nn.Module):
    """A sum of a function over all negatives: hinges."""

    takes: ClassVar[str] = "scores"

    def forward(self, scores: Scores) -> Tensor:
        return scores.negative.sum(torch.relu) + (1 - scores.positive.mean()).relu()


class Hardest(nn.Module):
    """Only the negative with the highest score."""

    takes: ClassVar[str] = "scores"

    def forward(self, scores: Scores) -> Tensor:
        return torch.nn.functional.softplus(scores.negative.max() - scores.positive.max())


LOSSES: tuple[nn.Module, ...] = (InfoNCE(), InfoNCE("inside"), Margin(), Hardest())


class ProblemMaker(NamedTuple):
    """A problem that can be made several times, each time with new leaves."""

    name: str
    make: Callable[[Tensor, list[Tensor]], Problem]

    def problem(
        self, dtype: torch.dtype = torch.float64, leaves: list[Tensor] | None = None, device: str = "cpu"
    ) -> Problem:
        return self.make(torch.empty(0, dtype=dtype, device=device), [] if leaves is None else leaves)


def problems(loss: nn.Module) -> Iterator[ProblemMaker]:
    """Problems as a contrast makes them for a kernel, in all layouts."""
    score = Cosine(0.2)

    def shared(
        queries: int, blocks: tuple[int, ...], positive: Relation, negative: Relation, symmetric: bool = False,
        by: nn.Module = score,
    ) -> Any:  # fmt: skip
        def make(like: Tensor, leaves: list[Tensor]) -> Problem:
            query = _table(queries, 0, like, leaves)
            keys = tuple(_table(size, 1 + i, like, leaves) for i, size in enumerate(blocks)) or (query,)
            return Problem(Pairs(query, keys, positive, negative), by, loss, symmetric)

        return make

    other = ~same("label") & ~same("row")
    instance, rest = same("instance"), ~same("instance")
    yield ProblemMaker("keys apart from the queries", shared(9, (13,), instance, rest))
    yield ProblemMaker("queries that are the keys", shared(10, (), LABEL, other))
    yield ProblemMaker("keys that are queries too", shared(9, (9,), instance, rest, symmetric=True))
    yield ProblemMaker("queries that are the keys, both ways", shared(10, (), LABEL, other, symmetric=True))
    yield ProblemMaker("the batch's keys and a memory's", shared(7, (7, 20), instance, rest))
    yield ProblemMaker("several positives, and queries without any", shared(12, (12,), LABEL, other))
    yield ProblemMaker("one query", shared(1, (6,), instance, rest))
    yield ProblemMaker("no queries", shared(0, (6,), instance, rest))
    yield ProblemMaker("distances", shared(9, (13,), instance, rest, by=L2(0.5)))
    yield ProblemMaker("keys per query", _per_query(score, loss))


def _per_query(score: nn.Module, loss: nn.Module) -> Callable[[Tensor, list[Tensor]], Problem]:
    def make(like: Tensor, leaves: list[Tensor]) -> Problem:
        query, keys = _table(6, 0, like, leaves), _table(6 * 5, 1, like, leaves)
        slot = torch.arange(5, device=like.device).expand(6, 5)
        one = Embeddings(query.z.unsqueeze(1), {"slot": slot[:, :1]})
        many = Embeddings(keys.z.view(6, 5, -1), {"slot": slot})
        noise = like.new_full((6, 5), -1.5)
        return Problem(Pairs(one, (many,), same("slot"), ~same("slot"), noise), score, loss)

    return make


def _table(rows: int, number: int, like: Tensor, leaves: list[Tensor]) -> Embeddings:
    """Rows with their columns; every fourth has no known label."""
    generator = torch.Generator().manual_seed(number)
    z = torch.randn(rows, 6, generator=generator, dtype=torch.float64).to(like).requires_grad_()
    leaves.append(z)
    index = torch.arange(rows, device=like.device)
    label = torch.where(index % 4 == 3, -1, index % 3)
    return Embeddings(z, {"instance": index, "label": label, "row": index + 1000 * number})


def solve(
    kernel: Kernel, given: ProblemMaker, dtype: torch.dtype, scale: float = 1.0, device: str = "cpu"
) -> tuple[Outcome, list[Tensor]] | None:
    """A kernel's outcome for a problem, and the gradients for queries and keys; None if it can't run."""
    leaves: list[Tensor] = []
    problem = given.problem(dtype, leaves, device)
    if kernel.unsupported(problem):
        return None
    try:
        outcome = kernel(problem)
        gradients = torch.autograd.grad(outcome.total * scale, leaves, allow_unused=True)
    except Exception as error:
        error.add_note(f"in the problem {given.name!r}, by {type(kernel).__name__} with {type(problem.loss).__name__}")
        raise
    return outcome, [torch.zeros_like(x) if g is None else g for g, x in zip(gradients, leaves, strict=True)]


def agree(
    kernel: Kernel,
    given: ProblemMaker,
    who: str,
    dtype: torch.dtype = torch.float64,
    scale: float = 1.0,
    off: float = 1e-9,
    device: str = "cpu",
) -> bool:
    """Compares a kernel with the dense kernel in float64; False if it can't run this.

    Raises:
        Fails: they differ.
    """
    found, wanted = solve(kernel, given, dtype, scale, device), solve(Dense(), given, torch.float64, scale)
    if found is None or wanted is None:
        return False
    (outcome, gradients), (oracle, theirs) = found, wanted
    where = f"{who}, {given.name}, on {device}"
    same_numbers(outcome.total, oracle.total, f"{where}: total", rtol=off, atol=off)
    same_numbers(outcome.values, oracle.values, f"{where}: values", rtol=off, atol=off)
    same_numbers(outcome.terms, oracle.terms, f"{where}: terms", rtol=off, atol=off)
    expect(torch.equal(outcome.counted.cpu(), oracle.counted), f"{where}: it counts other queries")
    expect(not outcome.values.requires_grad, f"{where}: its values carry a gradient; only the total does")
    all_same(gradients, theirs, f"{where}: gradient", rtol=off, atol=off)
    return True
