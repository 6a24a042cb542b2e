"""Every body of the losses against the plain one: any relation, loss, layout, tile and temperature."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import attrs
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from small import LargestTensor
from torch import Tensor, nn

import crl_core as crl
from crl_core import Cosine, CrlError, Embeddings, InfoNCE, Pairs, Scores, parse, same
from crl_core.contracts.kernels import Kernel, Outcome, Problem
from crl_core.data import listing
from crl_core.data.listing import Lister
from crl_core.data.pairs import Summed
from crl_core.data.relation import Columns, Relation
from crl_core.kernels import blockwise, by_strips, by_tiles
from crl_core.kernels.blockwise import Blockwise
from crl_core.kernels.dense import Dense
from crl_core.kernels.strips import Strips
from crl_core.parts.scores.unit import unit

RELATIONS = [
    ('same("instance")', '~same("instance")'),
    ('same("instance") & ~same("row")', '~same("instance") & ~same("row")'),
    ('same("instance") & same("batch")', '~same("instance") & ~same("batch")'),
    ('same("label") & ~same("row")', '~same("label")'),
    ('(same("label") | same("instance")) & ~same("row")', '~(same("label") | same("instance")) & ~same("row")'),
    ('same("label") & within("time", 2)', 'same("label") & beyond("time", 4)'),
    ('within("time", 1) & ~same("row")', '~within("time", 1)'),
    ('same("row")', 'same("label") & ~same("row")'),
    ('same("label")', '~same("label") & same("nothing")'),
]
SOFT = [
    ('near("time", 2) & ~same("row")', '~near("time", 2) & ~same("row")'),
    ('same("label") & weighted("sure") & ~same("row")', '~same("label")'),
    ('same("label") & near("time", 1.5)', '~same("label")'),
]


def decoupled(scores: Scores) -> Tensor:
    return scores.negative.logsumexp() - scores.positive.mean()


def sigmoid(scores: Scores) -> Tensor:
    return scores.positive.sum(lambda s: F.softplus(-s)) + scores.negative.sum(F.softplus)


def hardest(scores: Scores) -> Tensor:
    return F.relu(0.4 + scores.negative.max() - scores.positive.min())


def weighted(scores: Scores) -> Tensor:
    """Two reductions of the same scores, a negative scale, and a count."""
    hard = F.softplus(scores.negative.logsumexp(1.5)) + F.softplus(scores.negative.logsumexp(-0.5))
    return F.softplus(hard - scores.positive.max()) / (1 + scores.negative.count())


def each_alone(scores: Scores) -> Summed:
    """A sum over positives of a function that knows the query's negatives; one term for each."""
    negatives = scores.negative.logsumexp()
    return Summed(scores.positive.sum(lambda s, n: F.softplus(n - s), negatives), scores.positive.count())


def attraction(scores: Scores) -> Tensor:
    """No negatives at all."""
    return -scores.positive.mean()


FORMULAS: list[Callable[[Scores], Tensor | Summed]] = [
    InfoNCE(), InfoNCE("inside"), decoupled, sigmoid, hardest, weighted, each_alone, attraction, crl.NWJ(),
]  # fmt: skip


def rows(count: int, first: int, unknown: int = -1) -> Embeddings:
    return Embeddings(
        torch.randn(count, 5, dtype=torch.float64),
        {
            "instance": torch.randint(unknown, max(2, count), (count,)),
            "row": torch.arange(first, first + count),
            "label": torch.randint(-1, 3, (count,)),
            "time": torch.randint(0, 9, (count,)),
            "batch": torch.full((count,), int(torch.randint(0, 2, ()))),
            "nothing": torch.full((count,), -1),
            "sure": torch.rand(count).sub(0.2).clamp(min=0.0),
        },
    )


def outcome_of(kernel: Kernel, problem: Problem) -> tuple[Outcome, list[Tensor | None]]:
    """The outcome, and the gradient of each table that has one."""
    tables = {id(t.z): t for t in (problem.pairs.query, *problem.pairs.keys)}
    for table in tables.values():
        table.z.grad = None
    outcome = kernel(problem)
    if outcome.total.requires_grad:
        (outcome.total * 0.7).backward()
    return outcome, [table.z.grad for table in tables.values()]


@settings(deadline=None, max_examples=150, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    layout=st.sampled_from(["blocks", "self", "self and blocks", "both ways", "self, both ways"]),
    count=st.integers(1, 19),
    blocks=st.lists(st.integers(1, 15), min_size=1, max_size=3),
    relations=st.sampled_from(RELATIONS + SOFT),
    formula=st.sampled_from(range(len(FORMULAS))),
    temperature=st.sampled_from([0.5, 0.01]),
    tile=st.integers(1, 40),
)
def test_all_bodies_agree(
    seed: int, layout: str, count: int, blocks: list[int], relations: tuple[str, str], formula: int,
    temperature: float, tile: int,
) -> None:  # fmt: skip
    torch.manual_seed(seed)
    query = rows(count, 0)
    keys = tuple(rows(n, 100 * (i + 1)) for i, n in enumerate(blocks))
    keys = (query,) if layout in ("self", "self, both ways") else keys
    keys = (query, *keys) if layout == "self and blocks" else keys
    keys = keys[:1] if layout == "both ways" else keys
    for i, table in enumerate({id(t): t for t in (query, *keys)}.values()):
        table.z.requires_grad_((seed >> i) % 3 > 0)  # some tables are detached, as a queue's is
    pairs = Pairs(query, keys, *map(parse, relations))
    problem = Problem(pairs, Cosine(temperature), FORMULAS[formula], "both ways" in layout)
    expected, gradients = outcome_of(Dense(), problem)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blockwise, "MOST", 0 if seed % 2 else blockwise.MOST)  # in tiles, or in one
        patch.setattr(by_strips, "_STRIP", 3 * tile)
        patch.setattr(by_strips, "_FEWEST", 1)
        patch.setattr(by_tiles, "TILE", 1 + tile % 8)
        patch.setattr(Pairs, "strips", lambda self, scores=tile, strips=Pairs.strips: strips(self, scores))
        for kernel in (Blockwise(), Strips()):
            if kernel.unsupported(problem):
                assert relations[1] == RELATIONS[-1][1] or formula == 3 or isinstance(kernel, Blockwise)
                continue
            found, theirs = outcome_of(kernel, problem)
            assert torch.equal(found.counted, expected.counted)
            torch.testing.assert_close(found.values, expected.values)
            torch.testing.assert_close(found.terms, expected.terms)
            torch.testing.assert_close(found.total, expected.total)
            for one, other in zip(theirs, gradients, strict=True):
                torch.testing.assert_close(*(torch.zeros(()) if g is None else g for g in (one, other)))


@settings(deadline=None, max_examples=200, derandomize=True)
@given(
    seed=st.integers(0, 10_000), count=st.integers(0, 12), width=st.integers(0, 12),
    relation=st.sampled_from([text for pair in RELATIONS + SOFT for text in pair]), most=st.integers(0, 300),
    tried=st.booleans(),
)  # fmt: skip
def test_a_list_is_the_relation(seed: int, count: int, width: int, relation: str, most: int, tried: bool) -> None:
    """By trying all pairs, and by sorting."""
    torch.manual_seed(seed)
    query = rows(count, 0).meta
    key = query if seed % 3 == 0 else rows(width, seed % 20).meta
    width = count if key is query else width
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listing, "_FEW", listing._FEW if tried else -1)
        found = Lister(query, key, most).list(parse(relation))
    if found is None:
        return
    mask = torch.full((count, width), found.complement)
    mask[found.row, found.column] = not found.complement
    columns = {name: column.unsqueeze(1) for name, column in query.items()}
    assert torch.equal(mask, parse(relation)(columns, key).expand(count, width))
    assert (found.row[1:] >= found.row[:-1]).all()
    assert len(set(zip(found.row.tolist(), found.column.tolist(), strict=True))) == len(found.row)


@attrs.frozen
class After(Relation):
    """A stranger's relation, which doesn't hold both ways."""

    column: str

    def columns(self) -> frozenset[str]:
        return frozenset({self.column})

    def __call__(self, query: Columns, key: Columns) -> Tensor:
        return query[self.column] > key[self.column]


@pytest.mark.parametrize("most", [0, blockwise.MOST])
@pytest.mark.parametrize("count", [24, 1_100])
def test_negatives_that_are_not_mutual_are_no_mirror_image(
    count: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blockwise, "MOST", most)
    torch.manual_seed(0)
    table = rows(count, 0)
    table.meta["label"] = torch.arange(count) // 4  # type: ignore[index]
    late = ~(same("label") & After("time")) & ~same("row")
    other = Embeddings(table.z, {name: column.roll(1) for name, column in table.meta.items()})
    for pairs in (
        Pairs(table, (table,), same("label") & ~same("row"), late),
        Pairs(table, (other,), same("label") & ~same("row"), ~same("label") & ~same("row")),
    ):
        table.z.requires_grad_()
        problem = Problem(pairs, Cosine(0.1), InfoNCE())
        assert not Blockwise().unsupported(problem)
        (expected, gradients), (found, theirs) = (outcome_of(kernel, problem) for kernel in (Dense(), Blockwise()))
        torch.testing.assert_close(found.values, expected.values)
        torch.testing.assert_close(theirs, gradients)


@pytest.mark.parametrize("count", [8, 1_100])
def test_a_second_derivative_is_refused_and_the_plain_body_has_it(count: int) -> None:
    given = classes(count)
    z = given.pairs.query.z
    (slope,) = torch.autograd.grad(Dense()(given).total, z, create_graph=True)
    assert slope.requires_grad
    with pytest.raises(CrlError, match="second derivative"):
        torch.autograd.grad(Blockwise()(given).total, z, create_graph=True)


@pytest.mark.parametrize("count", [64, 1_100])
def test_autocast_leaves_products_of_scores_alone(count: int) -> None:
    given = classes(count)
    expected, gradients = outcome_of(Blockwise(), given)
    before = [gradient.clone() for gradient in gradients if gradient is not None]
    with torch.autocast("cpu", torch.bfloat16):
        found, theirs = outcome_of(Blockwise(), given)
    assert torch.equal(found.total, expected.total)
    assert all(torch.equal(one, other) for one, other in zip(before, theirs, strict=True))  # type: ignore[arg-type]


def test_rows_that_are_no_candidates_are_seen_by_bodies_that_know_of_them() -> None:
    given = classes(12)
    valid = torch.arange(12) < 10
    table = Embeddings(given.pairs.query.z, {**given.pairs.query.meta, "valid": valid})
    problem = given._replace(pairs=Pairs(table, (table,), given.pairs.positive, given.pairs.negative))
    (reason,) = Blockwise().unsupported(problem)
    assert "`valid`" in reason


# -- memory --------------------------------------------------------------------------------------------------


def classes(count: int) -> Problem:
    table = Embeddings(
        torch.randn(count, 8, requires_grad=True), {"label": torch.arange(count) // 4, "row": torch.arange(count)}
    )
    return Problem(Pairs(table, (table,), same("label") & ~same("row"), ~same("label")), Cosine(0.1), InfoNCE())


def two_tables(count: int, symmetric: bool) -> Problem:
    query, key = (
        Embeddings(torch.randn(count, 8, requires_grad=True), {"instance": torch.randperm(count)}) for _ in range(2)
    )
    return Problem(Pairs(query, (key,), same("instance"), ~same("instance")), Cosine(0.1), InfoNCE(), symmetric)


@pytest.mark.parametrize("kernel", [Blockwise(), Strips()], ids=["blockwise", "strips"])
@pytest.mark.parametrize("make", [classes, lambda n: two_tables(n, False), lambda n: two_tables(n, True)])
def test_no_tensor_of_all_pairs_is_ever_made(kernel: Kernel, make: Callable[[int], Problem]) -> None:
    count = 6_000
    problem = make(count)
    with LargestTensor() as largest:
        kernel(problem).total.backward()
    assert 0 < largest.numel < count * count / 20


class Learned(nn.Module):
    takes = "scores"

    def __init__(self) -> None:
        super().__init__()
        self.margin = nn.Parameter(torch.tensor(0.1))

    def forward(self, scores: Scores) -> Tensor:
        return F.softplus(scores.negative.logsumexp() - scores.positive.logsumexp() + self.margin)


def test_strips_train_what_a_loss_has_of_its_own() -> None:
    loss = Learned()
    problem = two_tables(50, False)._replace(loss=loss)
    gradients = []
    for kernel in (Dense(), Strips()):
        loss.margin.grad = None
        kernel(problem).total.backward()
        gradients.append(loss.margin.grad)
    torch.testing.assert_close(*gradients)


# -- one tile --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("symmetric", [False, True])
def test_a_second_backward_gives_the_same_gradient(symmetric: bool) -> None:
    """The tile is overwritten by the first, and made again."""
    problem = two_tables(30, symmetric)
    outcome, found = Blockwise()(problem), []
    for _ in range(2):
        problem.pairs.query.z.grad = None
        outcome.total.backward(retain_graph=True)
        found.append(problem.pairs.query.z.grad)
    assert found[0].abs().max() > 0
    torch.testing.assert_close(*found)


def test_what_a_loss_asks_for_follows_its_settings() -> None:
    loss = crl.Triplet(0.3, mining="hard")
    problem = two_tables(30, False)._replace(loss=loss)
    assert not Blockwise().unsupported(problem)
    loss.mining = "all"
    (reason,) = Blockwise().unsupported(problem)
    assert "negative.values" in reason
    loss.mining = "easy-positive"
    expected, found = Dense()(problem), Blockwise()(problem)
    torch.testing.assert_close(found.values, expected.values)


@pytest.mark.parametrize("kernel", [Dense(), Strips(), Blockwise()], ids=["dense", "strips", "blockwise"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_summed_in_float32(kernel: Kernel, dtype: torch.dtype) -> None:
    given = two_tables(200, False)
    tables = [
        Embeddings(t.z.detach().to(dtype).requires_grad_(), t.meta) for t in (given.pairs.query, *given.pairs.keys)
    ]
    exact = [Embeddings(t.z.detach().double().requires_grad_(), t.meta) for t in tables]
    values = []
    for query, key in (tables, exact):
        problem = given._replace(pairs=Pairs(query, (key,), given.pairs.positive, given.pairs.negative))
        outcome = (kernel if query is tables[0] else Dense())(problem)
        outcome.total.backward()
        values.append(outcome.values.double())
    assert all(table.z.grad is not None and table.z.grad.dtype == dtype for table in tables)
    torch.testing.assert_close(values[0], values[1], rtol=3e-2 if dtype == torch.bfloat16 else 4e-3, atol=0)


def test_unit_is_normalise_with_every_derivative() -> None:
    rows = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(unit(rows, 2.5), F.normalize(rows, dim=-1) * 2.5)
    assert torch.autograd.gradcheck(lambda x: unit(x, 2.5), rows)
    assert torch.autograd.gradgradcheck(lambda x: unit(x, 2.5), rows)
    assert unit(torch.zeros(2, 3)).abs().max() == 0


def test_nothing_is_left_of_a_loss_that_nobody_wants() -> None:
    problem = two_tables(30, False)
    outcome, table = Blockwise()(problem), weakref.ref(problem.pairs.query.z)
    gc.disable()
    del problem, outcome
    gone = table() is None
    gc.enable()
    assert gone
