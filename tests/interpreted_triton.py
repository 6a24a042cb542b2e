"""The Triton body against the plain one in float64: run by test_triton.py, in a process of its own.

On a machine without CUDA, Triton's interpreter runs the kernels, which has to be said before Triton is imported.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from test_kernels import RELATIONS
from torch import Tensor

from crl_core import Cosine, Dot, Embeddings, InfoNCE, Pairs, Scores, parse
from crl_core.contracts.kernels import Outcome, Problem
from crl_core.contracts.parts import Score
from crl_core.data.pairs import Summed
from crl_core.kernels import triton_block
from crl_core.kernels.dense import Dense
from crl_core.kernels.triton_block import Sizes
from crl_core.kernels.triton_body import Triton
from crl_core.parts.losses.decoupled import Decoupled
from crl_core.parts.losses.hard_negatives import HardNegatives
from crl_core.parts.losses.jensen_shannon import JensenShannon
from crl_core.parts.losses.lifted import Lifted
from crl_core.parts.losses.negative_sampling import NegativeSampling
from crl_core.parts.losses.sigmoid import Sigmoid
from crl_core.testing.checks.problems import agree, problems

pytestmark = pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")  # numpy's, of exp and log
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
INSTANCE = ('same("instance")', '~same("instance")')
CLASSES = ('same("label") & ~same("row")', '~same("label")')
Loss = Callable[[Scores], Tensor | Summed]


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """So small that there are several of each, and that wide rows are read in chunks, of which the last isn't full."""
    monkeypatch.setattr(triton_block, "reduce_sizes", lambda width, _: Sizes(32, 16, 32, width <= 32, 4, 2))
    monkeypatch.setattr(triton_block, "push_sizes", lambda width, *_: (Sizes(16, 32, 16, width <= 32, 4, 2), 32))


def rows(count: int, first: int = 0, width: int = 7, dtype: torch.dtype = torch.float32) -> Embeddings:
    columns = {
        "instance": torch.randint(-1, max(2, count), (count,)),
        "row": torch.arange(first, first + count),
        "label": torch.randint(-1, 3, (count,)),
        "time": torch.randint(0, 9, (count,)),
        "batch": torch.full((count,), first // 100 % 2),
        "nothing": torch.full((count,), -1),
    }
    z = torch.randn(count, width).to(DEVICE, dtype).requires_grad_()
    return Embeddings(z, {name: column.to(DEVICE) for name, column in columns.items()})


def aligned(
    count: int, width: int, noise: float, scale: float = 1.0, dtype: torch.dtype = torch.float32
) -> list[Embeddings]:
    """Queries and keys of which those that match are near each other; the scale is of the queries."""
    unit = F.normalize(torch.randn(count, width), dim=1)
    near = F.normalize(unit + noise * F.normalize(torch.randn(count, width), dim=1), dim=1)
    order = torch.randperm(count)
    made = [(unit * scale, torch.arange(count)), (near[order], order)]
    return [Embeddings(z.to(DEVICE, dtype).requires_grad_(), {"instance": i.to(DEVICE)}) for z, i in made]


def problem(
    query: Embeddings, keys: tuple[Embeddings, ...], relations: tuple[str, str], loss: Loss,
    score: Score | None = None, symmetric: bool = False,
) -> Problem:  # fmt: skip
    pairs = Pairs(query, keys, *map(parse, relations))
    return Problem(pairs, score or Cosine(0.2).to(DEVICE), loss, symmetric)


def solved(kernel: Triton | Dense, given: Problem) -> tuple[Outcome, list[Tensor | None]]:
    tables = {id(table): table.z for table in (given.pairs.query, *given.pairs.keys)}
    for z in tables.values():
        z.grad = None
    outcome = kernel(given)
    if outcome.total.requires_grad:
        (outcome.total * 0.7).backward()
    return outcome, [z.grad for z in tables.values()]


def oracle(given: Problem) -> tuple[Outcome, list[Tensor | None]]:
    """What the plain body makes of the same numbers in float64."""
    wide: dict[int, Embeddings] = {}
    for table in (given.pairs.query, *given.pairs.keys):
        z = table.z.detach().double().requires_grad_(table.z.requires_grad)
        wide.setdefault(id(table), Embeddings(z, table.meta))
    query, *keys = (wide[id(table)] for table in (given.pairs.query, *given.pairs.keys))
    pairs = Pairs(query, tuple(keys), given.pairs.positive, given.pairs.negative)
    return solved(Dense(), given._replace(pairs=pairs))


def off(found: Tensor | None, wanted: Tensor | None) -> float:
    """How far a gradient is off, by its length."""
    assert (found is None) == (wanted is None)
    if found is None or wanted is None:
        return 0.0
    return float((found.double() - wanted).norm() / wanted.norm().clamp(min=1e-30))


def check(given: Problem, value: float = 1e-5, gradient: float = 1e-5) -> None:
    assert not Triton().unsupported(given)
    (found, gradients), (wanted, theirs) = solved(Triton(), given), oracle(given)
    assert torch.equal(found.counted, wanted.counted)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one.double(), other.double(), rtol=value, atol=value)
    assert all(off(one, other) < gradient for one, other in zip(gradients, theirs, strict=True))


@pytest.mark.parametrize("relations", RELATIONS, ids=str)
def test_relations_are_evaluated_in_the_tile(relations: tuple[str, str]) -> None:
    query = rows(37)
    check(problem(query, (query, rows(18, 100)), relations, InfoNCE()))


def with_all(scores: Scores) -> Tensor:
    """Every reduction of both sides."""
    positive, negative = scores.positive, scores.negative
    near = positive.logsumexp(-1.0) + positive.sum() * 0.1 + positive.sum(lambda s: -F.logsigmoid(s)) + positive.mean()
    far = negative.logsumexp(0.5) + negative.mean() + negative.sum(F.softplus) / (1 + negative.count())
    return F.softplus(far.clamp(min=-9.0)) + near / positive.count().clamp(min=1)


LOSSES: list[Loss] = [
    InfoNCE("inside"), Decoupled(), JensenShannon(), NegativeSampling(), Sigmoid(), HardNegatives(), Lifted(), with_all,
    lambda scores: -scores.positive.mean(),
]  # fmt: skip


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: getattr(loss, "__name__", type(loss).__name__))
def test_losses_with_several_positives_both_ways(loss: Loss) -> None:
    check(problem(rows(35), (rows(21, 100),), CLASSES, loss, symmetric=True), value=2e-5)


@pytest.mark.parametrize("width", [5, 16, 33])
def test_one_positive_each_at_a_low_temperature(width: int) -> None:
    query, key = aligned(34, width, noise=2.0)
    for symmetric in (False, True):
        given = problem(query, (key,), INSTANCE, InfoNCE(), Cosine(0.01), symmetric)
        check(given, value=5e-5, gradient=5e-5)


def test_what_is_nearly_learned_keeps_its_gradient() -> None:
    query, key = aligned(20, 24, noise=0.0)
    # For one positive these are the same; the first loses its gradient in the oracle.
    given, exact = (problem(query, (key,), INSTANCE, InfoNCE(form), Cosine(0.012)) for form in ("outside", "inside"))
    wanted, theirs = oracle(exact)
    assert 0 < float(wanted.total.detach()) < 1e-9
    assert all(off(one, other) < 1e-4 for one, other in zip(solved(Triton(), given)[1], theirs, strict=True))
    found = solved(Triton(), exact)[0].total.double()
    torch.testing.assert_close(found, wanted.total, rtol=1e-4, atol=0.0)


def test_a_detached_queue_gets_no_gradient_and_few_queries_share_out_the_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_block, "_programs", lambda _: 8)
    query, queue = rows(19), rows(77, 300)
    queue.z.requires_grad_(False)
    given = problem(query, (rows(19, 100), queue), CLASSES, HardNegatives(0.5))
    check(given)
    assert queue.z.grad is None
    query.z.requires_grad_(False)
    check(given)


def test_rows_that_do_not_exist_and_fractional_times() -> None:
    query, key = rows(20), rows(33, 100)
    for table in (query, key):
        time = torch.rand(len(table)).mul(8).round().div(10).to(DEVICE)
        table.meta["time"] = torch.where(torch.arange(len(table), device=DEVICE) % 5 == 0, torch.nan, time)  # type: ignore[index]
    key.meta["valid"] = key.meta["row"] % 3 > 0  # type: ignore[index]
    check(problem(query, (key,), ('within("time", 0.1)', 'beyond("time", 0.3) & ~same("label")'), InfoNCE()))


def test_nothing_to_contrast() -> None:
    for queries, keys in ((0, 5), (5, 0), (1, 1)):
        outcome, gradients = solved(Triton(), problem(rows(queries), (rows(keys, 100),), INSTANCE, InfoNCE()))
        assert len(outcome.values) == queries
        assert not outcome.values.any()
        assert all(gradient is not None and not gradient.any() for gradient in gradients)


@pytest.mark.parametrize(("dtype", "allowed"), [(torch.bfloat16, 4e-3), (torch.float16, 5e-4)])
def test_half_precision_is_summed_in_float32(dtype: torch.dtype, allowed: float) -> None:
    """Values are those of float64 on the same numbers; gradients are off by what their own type rounds off."""
    query, key = aligned(40, 24, 2.0, 100.0, dtype)
    given = problem(query, (key,), INSTANCE, InfoNCE(), Dot())
    check(given, value=5e-5, gradient=allowed)
    ours = solved(Triton(), given)[1][0]
    assert ours is not None
    assert ours.dtype == dtype
    # Cross-entropy on a matrix of this type rounds the scores as well.
    target = key.meta["instance"].argsort()
    (theirs,) = torch.autograd.grad(F.cross_entropy(query.z @ key.z.T, target, reduction="sum") * 0.7, query.z)
    exact = oracle(given)[1][0]
    assert off(ours, exact) < off(theirs, exact)


def test_the_kit_agrees() -> None:
    given = list(problems(InfoNCE()))
    assert sum(agree(Triton(), one, "InfoNCE", torch.float32, 3.0, 2e-4) for one in given) == len(given) - 2
