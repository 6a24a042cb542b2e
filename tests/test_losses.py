"""The losses against their closed forms, and every kernel against the plain one."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from small import LargestTensor
from torch import Tensor, nn

from crl_core import (
    L2,
    Cosine,
    Dot,
    Drawn,
    Embeddings,
    InfoNCE,
    Pairs,
    Regression,
    Scores,
    beyond,
    near,
    same,
    weighted,
    within,
)
from crl_core.contracts.kernels import Kernel, Outcome, Problem
from crl_core.data.parsing import parse
from crl_core.data.relation import Relation
from crl_core.kernels import blockwise, by_strips, by_tiles
from crl_core.kernels.blockwise import Blockwise
from crl_core.kernels.dense import Dense
from crl_core.kernels.strips import Strips
from crl_core.registry import PluginError
from crl_core.registry.kernels import choose_kernel

KERNELS = [Dense(), Blockwise(), Strips()]


def table(z: Tensor, first: int = 0, **columns: Tensor) -> Embeddings:
    return Embeddings(z, {"instance": torch.arange(len(z)), "row": torch.arange(first, first + len(z)), **columns})


def mean(outcome: Outcome) -> Tensor:
    return outcome.total / outcome.counted.sum()


def in_batch(query: Tensor, key: Tensor, score: nn.Module, loss: nn.Module) -> Problem:
    pairs = Pairs(table(query), (table(key, len(query)),), same("instance"), ~same("instance"))
    return Problem(pairs, score, loss)


def nt_xent(z: Tensor, temperature: float, loss: nn.Module | None = None) -> Problem:
    instance = torch.arange(len(z)) % (len(z) // 2)
    both = table(z, instance=instance)
    pairs = Pairs(both, (both,), same("instance") & ~same("row"), ~same("instance"))
    return Problem(pairs, Cosine(temperature), loss or InfoNCE())


# -- closed forms --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", KERNELS)
def test_info_nce_on_the_diagonal_is_cross_entropy(kernel: Kernel) -> None:
    query, key = torch.randn(2, 17, 5, dtype=torch.float64)
    expected = F.cross_entropy(query @ key.T / 0.3, torch.arange(17))
    torch.testing.assert_close(mean(kernel(in_batch(query, key, Dot(0.3), InfoNCE()))), expected)


@pytest.mark.parametrize("kernel", KERNELS)
def test_nt_xent_is_equation_1_of_simclr(kernel: Kernel) -> None:
    z = torch.randn(12, 7, dtype=torch.float64)
    unit = F.normalize(z, dim=1)
    expected = torch.zeros((), dtype=torch.float64)
    for i in range(12):
        j = (i + 6) % 12
        others = sum(torch.exp(unit[i] @ unit[k] / 0.5) for k in range(12) if k != i)
        expected -= torch.log(torch.exp(unit[i] @ unit[j] / 0.5) / others)
    torch.testing.assert_close(mean(kernel(nt_xent(z, 0.5))), expected / 12)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("form", ["outside", "inside"])
def test_several_positives_are_sup_con(kernel: Kernel, form: str) -> None:
    z = torch.randn(10, 6, dtype=torch.float64)
    label = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2, 3])
    rows = table(z, label=label)
    pairs = Pairs(rows, (rows,), same("label") & ~same("row"), ~same("label"))
    outcome = kernel(Problem(pairs, Cosine(0.2), InfoNCE(form)))
    unit = F.normalize(z, dim=1)
    total = 0.0
    for i in range(9):
        positives = [p for p in range(10) if p != i and label[p] == label[i]]
        share = [
            torch.exp(unit[i] @ unit[p] / 0.2) / sum(torch.exp(unit[i] @ unit[a] / 0.2) for a in range(10) if a != i)
            for p in positives
        ]
        total += -sum(map(torch.log, share)) / len(share) if form == "outside" else -torch.log(sum(share))
    torch.testing.assert_close(outcome.total, total)
    assert outcome.counted.tolist() == [True] * 9 + [False], "a label that occurs once has no positive"
    assert outcome.values[9] == 0


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("symmetric", [False, True])
def test_soft_positives_are_cross_entropy_with_a_soft_target(kernel: Kernel, symmetric: bool) -> None:
    """torch's own, whose target is the weights, normalised for every query."""
    query, key = torch.randn(2, 9, 5, dtype=torch.float64).requires_grad_().unbind(0)
    label, sure = torch.arange(9) % 3, torch.tensor([0.2, 1.0, 0.7, 0.4, 0.0, 0.9, 0.3, 1.0, 0.5])
    tables = [table(z, first, label=label, sure=sure) for z, first in ((query, 0), (key, 9))]
    pairs = Pairs(tables[0], (tables[1],), same("label") & weighted("sure"), ~same("label"))
    outcome = kernel(Problem(pairs, Dot(0.5), InfoNCE(), symmetric))
    weight = sure * (label[:, None] == label)
    counted = sure > 0
    expected = []
    for scores in (query @ key.T / 0.5, key @ query.T / 0.5)[: 1 + symmetric]:
        # A row of the same label that is not sure at all is no candidate.
        scores = scores.masked_fill((label[:, None] == label) & ~(sure > 0), -1e9)  # noqa: PLW2901
        target = (weight / weight.sum(1, keepdim=True)).double()
        expected.append(F.cross_entropy(scores, target, reduction="none")[counted].sum())
    torch.testing.assert_close(outcome.total, torch.stack(expected).sum())
    gradients = [
        torch.autograd.grad(total, (query, key), retain_graph=True) for total in (outcome.total, sum(expected))
    ]
    torch.testing.assert_close(*gradients)
    assert outcome.counted.tolist() == counted.tolist() * (1 + symmetric)


@pytest.mark.parametrize("kernel", KERNELS)
def test_soft_positives_that_are_alike_are_sup_con_and_a_single_one_is_info_nce(kernel: Kernel) -> None:
    z, label = torch.randn(10, 6, dtype=torch.float64), torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2, 3])

    def values(positive: str, negative: str, **columns: Tensor) -> Tensor:
        rows = table(z, label=label, **columns)
        return kernel(Problem(Pairs(rows, (rows,), parse(positive), parse(negative)), Cosine(0.2), InfoNCE())).values

    hard = values('same("label") & ~same("row")', '~same("label")')
    alike = values('same("label") & weighted("w") & ~same("row")', '~same("label")', w=torch.full((10,), 0.3))
    torch.testing.assert_close(alike, hard)
    # All weight on the next row; what has none is a negative as any other.
    pair = torch.arange(10) // 2
    one = values('same("label") & same("pair") & ~same("row")', '~(same("label") & same("pair"))', pair=pair)
    positive = 'same("label") & near("pair", 0.01) & ~same("row")'
    torch.testing.assert_close(values(positive, '~(same("label") & near("pair", 0.01))', pair=pair), one)


def test_by_a_bell_curve_over_a_number_it_is_the_y_aware_loss() -> None:
    """Dufumier et al. 2021, equation 2: all pairs of a batch, weighed by how near their ages are."""
    z, age = torch.randn(7, 4, dtype=torch.float64), torch.tensor([20.0, 21.0, 25.0, 40.0, 41.0, 60.0, 75.0])
    rows = table(z, age=age)
    positive = near("age", 5.0) & ~same("row")
    problem = Problem(Pairs(rows, (rows,), positive, ~positive & ~same("row")), Dot(), InfoNCE())
    outcome = choose_kernel("auto", problem)(problem)
    total = 0.0
    for i in range(7):
        others = [k for k in range(7) if k != i]
        weights = {k: math.exp(-(float(age[i] - age[k]) ** 2) / 50) for k in others}
        log_sum = torch.stack([z[i] @ z[k] for k in others]).logsumexp(0)
        total -= sum(w / sum(weights.values()) * (z[i] @ z[k] - log_sum) for k, w in weights.items())
    torch.testing.assert_close(outcome.total, total, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kernel", KERNELS)
def test_equal_scores_give_the_logarithm_of_the_candidates(kernel: Kernel) -> None:
    same_point = torch.ones(8, 4, dtype=torch.float64)
    assert float(mean(kernel(in_batch(same_point, same_point, Cosine(0.1), InfoNCE())))) == pytest.approx(math.log(8))
    assert float(mean(kernel(nt_xent(same_point, 0.1)))) == pytest.approx(math.log(7))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_easy_batch_keeps_its_gradient(kernel: Kernel, dtype: torch.dtype) -> None:
    # Opposite negatives at scale 100: the true loss is about 1e-86, which cross-entropy rounds to 0.
    z = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=dtype)
    score = Dot(0.01 if dtype == torch.float64 else 0.05)
    query = z.clone().requires_grad_()
    outcome = kernel(in_batch(query, z, score, InfoNCE()))
    outcome.total.backward()
    gap = 2 / score.temperature
    assert float(outcome.total.detach()) == pytest.approx(2 * math.exp(-gap), rel=1e-4)
    assert query.grad is not None
    assert float(query.grad[0, 0]) == pytest.approx(-math.exp(-gap) * gap, rel=1e-4)


def test_regression_is_two_minus_two_cosines() -> None:
    query, key = torch.randn(2, 9, 5, dtype=torch.float64)
    expected = (F.normalize(query, dim=1) - F.normalize(key, dim=1)).square().sum(1)
    torch.testing.assert_close(Regression()(query, key), expected)


def test_a_loss_alone_takes_plain_scores() -> None:
    values = torch.randn(6, 6, dtype=torch.float64)
    scores = Scores.of(values, torch.eye(6, dtype=torch.bool))
    torch.testing.assert_close(InfoNCE()(scores), F.cross_entropy(values, torch.arange(6), reduction="none"))


def test_l2_has_a_gradient_at_distance_zero_that_is_not_nan() -> None:
    query = torch.zeros(3, 4, requires_grad=True)
    L2()(query, torch.zeros(2, 4)).sum().backward()
    assert query.grad is not None
    assert query.grad.isfinite().all()


def test_distances_in_float32_keep_their_digits_near_zero() -> None:
    query = 10 + torch.randn(20, 64)
    key = (query + 1e-4 * torch.randn(20, 64)).requires_grad_()
    exact = torch.cdist(query.double(), key.double(), compute_mode="donot_use_mm_for_euclid_dist")
    found = -L2()(query, key)
    torch.testing.assert_close(found, exact.float(), rtol=1e-6, atol=1e-9)
    gradients = [torch.autograd.grad(d.diagonal().sum(), key)[0] for d in (found, exact)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)
    # The same row has distance 0, and no gradient.
    itself = L2()(key, key).diagonal()
    assert itself.abs().max() == 0
    assert torch.autograd.grad(itself.sum(), key)[0].abs().max() < 1e-6


def test_l2_is_the_negative_distance_in_both_layouts() -> None:
    query, key = torch.randn(3, 4), torch.randn(5, 4)
    expected = -(query[:, None] - key[None]).norm(dim=-1) / 0.5
    torch.testing.assert_close(L2(0.5)(query, key), expected)
    torch.testing.assert_close(L2(0.5)(query[:, None], key.expand(3, 5, 4)), expected)


@pytest.mark.parametrize("score", [Dot(0.5), Cosine(0.5)])
def test_scores_agree_in_both_layouts(score: nn.Module) -> None:
    query, key = torch.randn(3, 4), torch.randn(5, 4)
    shared = score(query, key)
    torch.testing.assert_close(score(query[:, None], key.expand(3, 5, 4)), shared)
    torch.testing.assert_close(score(query[:, None].expand(3, 5, 4), key.expand(3, 5, 4)), shared)


# -- blockwise equals dense ------------------------------------------------------------------------------

RELATIONS = [
    ('same("instance")', '~same("instance")'),
    ('same("label") & ~same("row")', '~same("label")'),
    ('same("label") & within("time", 2)', 'same("label") & beyond("time", 4)'),
    ('within("time", 1) & ~same("row")', '~within("time", 1)'),
    ('same("label")', '~same("label") | same("row")'),
    ('same("row")', 'same("label") & ~same("row")'),
]


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 23),
    blocks=st.lists(st.integers(1, 19), min_size=1, max_size=3),
    relations=st.sampled_from(RELATIONS),
    form=st.sampled_from(["outside", "inside"]),
    tile=st.sampled_from([1, 16, 100, 1 << 20]),
)
def test_blockwise_equals_dense(
    seed: int, count: int, blocks: list[int], relations: tuple[str, str], form: str, tile: int
) -> None:
    torch.manual_seed(seed)
    positive, negative = map(parse, relations)
    detached = seed % 2
    found = {}
    inputs = [torch.randn(n, 6, dtype=torch.float64) for n in (count, *blocks)]
    columns = [{"label": torch.randint(-1, 4, (n,)), "time": torch.randint(0, 9, (n,))} for n in (count, *blocks)]
    for kernel in KERNELS:
        leaves = [x.clone().requires_grad_(i <= len(blocks) - detached) for i, x in enumerate(inputs)]
        first = 0
        tables = []
        for z, meta in zip(leaves, columns, strict=True):
            tables.append(table(z, 0 if not tables else first, **meta))
            first += 0 if len(tables) == 1 else len(z)
        pairs = Pairs(tables[0], tuple(tables[1:]), positive, negative)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(blockwise, "MOST", 1 if tile < 1 << 20 else blockwise.MOST)
            patch.setattr(by_strips, "_STRIP", tile)
            patch.setattr(by_strips, "_FEWEST", 1)
            patch.setattr(by_tiles, "TILE", 1 + tile % 7)
            patch.setattr(Pairs, "strips", lambda self, scores=tile, strips=Pairs.strips: strips(self, scores))
            problem = Problem(pairs, Cosine(0.3), InfoNCE(form))
            assert kernel.unsupported(problem) == []
            outcome = kernel(problem)
        if outcome.total.requires_grad:
            (outcome.total * 0.7).backward()
        found[type(kernel)] = outcome, [leaf.grad for leaf in leaves]
    dense, ours = found.pop(Dense)
    for other, theirs in found.values():
        torch.testing.assert_close(other.total, dense.total)
        torch.testing.assert_close(other.values, dense.values)
        assert torch.equal(other.counted, dense.counted)
        for one, two in zip(ours, theirs, strict=True):
            torch.testing.assert_close(*(torch.zeros(()) if g is None else g for g in (one, two)))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("form", ["outside", "inside"])
def test_gradients_by_finite_differences(kernel: Kernel, form: str) -> None:
    label = torch.tensor([0, 0, 1, 1, 1, 2])

    def loss(query: Tensor, key: Tensor) -> Tensor:
        pairs = Pairs(table(query, label=label), (table(key, 6, label=label),), same("label"), ~same("label"))
        return kernel(Problem(pairs, Cosine(0.4), InfoNCE(form))).total

    assert torch.autograd.gradcheck(loss, torch.randn(2, 6, 3, dtype=torch.float64).requires_grad_().unbind(0))


class LearnedMargin(nn.Module):
    takes = "scores"

    def __init__(self) -> None:
        super().__init__()
        self.margin = nn.Parameter(torch.tensor(0.1))

    def forward(self, scores: Scores) -> Tensor:
        return F.softplus(scores.negative.logsumexp() - scores.positive.logsumexp() + self.margin)


class Hardest(nn.Module):
    takes = "scores"

    def forward(self, scores: Scores) -> Tensor:
        return F.relu(0.2 + scores.negative.max() - scores.positive.min())


class Softest(nn.Module):
    takes = "scores"

    def forward(self, scores: Scores) -> Tensor:
        return F.relu(0.2 + scores.negative.min() - scores.positive.min())


class Decoupled(nn.Module):
    """Nobody told the kernels about this one: a formula is enough."""

    takes = "scores"

    def forward(self, scores: Scores) -> Tensor:
        return scores.negative.logsumexp() - scores.positive.mean() + 0 * scores.negative.count()


def test_a_strangers_formula_runs_blockwise() -> None:
    query, key = torch.randn(2, 9, 4, dtype=torch.float64)
    values = {}
    for kernel in KERNELS:
        leaf = query.clone().requires_grad_()
        problem = in_batch(leaf, key, Dot(), Decoupled())
        assert kernel.unsupported(problem) == []
        kernel(problem).total.backward()
        values[type(kernel)] = leaf.grad
    torch.testing.assert_close(values[Dense], values[Blockwise])


# -- which kernel, and why ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("score", "loss", "reason"),
    [
        (L2(), InfoNCE(), r"\bL2\b.*\bmatrix\b"),
        (Dot(), LearnedMargin(), r"\bLearnedMargin\b.*\bstate \(margin\)"),
        (Dot(), Softest(), r"negative\.min"),
    ],
)
def test_blockwise_says_why_it_cannot(score: nn.Module, loss: nn.Module, reason: str) -> None:
    problem = in_batch(torch.randn(4, 3), torch.randn(4, 3), score, loss)
    with pytest.raises(PluginError, match=reason):
        choose_kernel("core/blockwise", problem)
    assert isinstance(choose_kernel("auto", problem), Dense)


def test_an_explicit_choice_stays(caplog: pytest.LogCaptureFixture) -> None:
    problem = in_batch(torch.randn(4, 3), torch.randn(4, 3), Dot(), InfoNCE())
    assert isinstance(choose_kernel("dense", problem), Dense)
    assert isinstance(choose_kernel("auto", problem), Blockwise)
    with pytest.raises(PluginError, match=r"\bkernel\b.*'metal'"):
        choose_kernel("metal", problem)


def test_per_query_keys_run_dense() -> None:
    query = Embeddings(torch.randn(5, 1, 3, dtype=torch.float64), {"word": torch.arange(5)[:, None]})
    key = Embeddings(torch.randn(5, 4, 3, dtype=torch.float64), {"word": torch.arange(5)[:, None] + torch.arange(4)})
    problem = Problem(Pairs(query, (key,), same("word"), ~same("word")), Dot(), InfoNCE())
    expected = F.cross_entropy((query.z * key.z).sum(-1), torch.zeros(5, dtype=torch.int64))
    torch.testing.assert_close(mean(choose_kernel("auto", problem)(problem)), expected)


# -- memory and numbers ------------------------------------------------------------------------------------


def test_blockwise_never_holds_all_scores() -> None:
    count = 6_000
    z = torch.randn(count, 8, requires_grad=True)
    with LargestTensor() as largest:
        Blockwise()(in_batch(z, z.detach(), Cosine(0.1), InfoNCE())).total.backward()
    assert largest.numel < count * count / 20


@pytest.mark.parametrize("temperature", [0.5, 0.07, 0.01])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inputs_are_accumulated_in_full(temperature: float, dtype: torch.dtype) -> None:
    query, key = F.normalize(torch.randn(2, 200, 32, dtype=torch.float64), dim=-1).to(dtype).unbind(0)
    gradients = []
    for cast in (dtype, torch.float64):
        leaf = query.detach().clone().to(cast).requires_grad_()
        outcome = Blockwise()(in_batch(leaf, key.to(cast), Dot(temperature), InfoNCE()))
        outcome.total.backward()
        assert leaf.grad is not None
        gradients.append(leaf.grad.double())
    error = (gradients[0] - gradients[1]).norm() / gradients[1].norm()
    assert error < (0.03 if dtype == torch.bfloat16 else 0.005)


def test_rows_without_positives_or_negatives_do_no_harm() -> None:
    z = torch.randn(4, 3, requires_grad=True)
    rows = table(z, label=torch.tensor([0, 0, 1, -1]))
    for kernel in KERNELS:
        nothing: Relation = same("label") & beyond("row", 10)
        for positive, negative in ((nothing, ~same("label")), (same("label"), nothing), (nothing, nothing)):
            z.grad = None
            outcome = kernel(Problem(Pairs(rows, (rows,), positive, negative), Cosine(), InfoNCE()))
            outcome.total.backward()
            assert z.grad is not None
            assert z.grad.isfinite().all()
            assert outcome.total.isfinite()


# -- pairs -------------------------------------------------------------------------------------------------


def test_drawn_keys_are_what_the_relations_allow() -> None:
    label = torch.arange(30) % 3
    rows = table(torch.randn(30, 2), label=label)
    pairs = Drawn(7).choose(Pairs(rows, (rows,), same("label") & ~same("row"), ~same("label")))
    positive, negative = pairs.masks()
    assert pairs.shape == (30, 8)
    assert positive[:, 0].all()
    assert negative[:, 1:].all()
    assert not positive[:, 1:].any()
    assert not negative[:, 0].any()
    assert pairs.log_noise is not None
    torch.testing.assert_close(pairs.log_noise, torch.full((30, 8), -math.log(20)))
    assert len(pairs.key_meta["row"][:, 1:].unique()) > 20, "the draws differ from query to query"


def test_draws_by_distance_find_near_ones_that_chance_misses() -> None:
    """On the sphere of 64 dimensions nearly all points are about √2 away; nearer ones are drawn far more often."""
    z = F.normalize(torch.randn(400, 64), dim=1)
    z[1:9] = F.normalize(z[0] + 0.6 * F.normalize(torch.randn(8, 64), dim=1), dim=1)
    rows = table(z, label=torch.arange(400))
    pairs = Pairs(rows, (rows,), same("row"), ~same("row"))
    near = {}
    for by in ("chance", "distance"):
        drawn = Drawn(200, by).choose(pairs)
        keys = drawn.key_meta["row"][0, 1:]
        near[by] = float(((keys >= 1) & (keys < 9)).float().mean())
        assert drawn.log_noise is not None
        assert (drawn.log_noise <= 0).all()
    assert near["chance"] < 0.1
    assert near["distance"] > 0.9


def test_a_query_without_anything_to_draw_counts_for_nothing() -> None:
    rows = table(torch.randn(3, 2), label=torch.tensor([0, 1, 1]))
    pairs = Drawn(2).choose(Pairs(rows, (rows,), same("label") & ~same("row"), ~same("label")))
    assert pairs.masks()[0].any(1).tolist() == [False, True, True]


def test_positive_indices_are_the_positive_pairs() -> None:
    rows = table(torch.randn(6, 2), label=torch.tensor([0, 1, 0, 2, 1, 0]))
    query, key = Pairs(rows, (rows,), same("label") & ~same("row"), ~same("label")).positive_indices()
    assert sorted(zip(query.tolist(), key.tolist(), strict=True)) == [
        (0, 2), (0, 5), (1, 4), (2, 0), (2, 5), (4, 1), (5, 0), (5, 2),
    ]  # fmt: skip


def test_queries_and_keys_that_do_not_fit_are_refused() -> None:
    from crl_core import CrlError

    for query, key in (((4, 3), (4, 5)), ((4, 3), (5, 2, 3)), ((4, 1, 3), (5, 2, 3)), ((4, 2, 3), (4, 3, 3))):
        with pytest.raises(CrlError, match="don't fit"):
            Pairs(Embeddings(torch.zeros(query)), (Embeddings(torch.zeros(key)),), same("a"), same("a"))


def test_invalid_keys_of_a_query_are_no_candidates() -> None:
    meta = {"word": torch.zeros(1, 3), "valid": torch.tensor([[True, False, True]])}
    query = Embeddings(torch.zeros(1, 1, 2), {"word": torch.zeros(1, 1)})
    pairs = Pairs(query, (Embeddings(torch.zeros(1, 3, 2), meta),), within("word", 1), ~same("word"))
    assert pairs.masks()[0].tolist() == [[True, False, True]]


def test_rows_flattens_local_features_with_their_columns() -> None:
    z = torch.arange(24.0).view(2, 3, 4)
    meta = {"clip": torch.tensor([7, 8]), "valid": torch.tensor([[True, True, False], [True, False, True]])}
    rows = Embeddings(z, meta).rows()
    assert rows.z[:, 0].tolist() == [0, 4, 12, 20]
    assert rows.meta["clip"].tolist() == [7, 7, 8, 8]
    assert rows.meta["position"].tolist() == [0, 1, 0, 2]
