"""The losses without negatives: their closed forms written as loops, what collapse costs, and what they prevent."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from small import Noisy, Perceptron, Points
from torch import Tensor, nn

import crl_core as crl
from crl_core import (
    AlignmentUniformity,
    BarlowTwins,
    Branch,
    Contrast,
    CrlError,
    Embeddings,
    Pipeline,
    Progress,
    Regression,
    SwappedAssignment,
    VICReg,
    Whitening,
    same,
)
from crl_core.data.geometry import alignment, spread, uniformity
from crl_core.parts.losses.swapped_assignment import sinkhorn
from crl_core.parts.losses.whitening import whitened

PAIRS, WIDTH = 14, 5


def losses() -> dict[str, nn.Module]:
    return {
        "barlow-twins": BarlowTwins(),
        "vicreg": VICReg(),
        "whitening": Whitening(),
        "alignment-uniformity": AlignmentUniformity(),
        "regression": Regression(),
        "swapped-assignment": SwappedAssignment(7, WIDTH),
    }


def tables(count: int = PAIRS, width: int = WIDTH) -> tuple[Tensor, Tensor]:
    query, key = torch.randn(2, count, width, dtype=torch.float64)
    return query, (query + 0.5 * key).requires_grad_()


# -- closed forms ------------------------------------------------------------------------------------------


def column(z: Tensor, j: int) -> list[float]:
    return z[:, j].tolist()


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def covariance(x: list[float], y: list[float], minus: int) -> float:
    return sum((a - mean(x)) * (b - mean(y)) for a, b in zip(x, y, strict=True)) / (len(x) - minus)


def test_barlow_twins_is_the_papers_double_sum() -> None:
    query, key = tables()
    expected = 0.0
    for i, j in itertools.product(range(WIDTH), range(WIDTH)):
        x, y = column(query, i), column(key, j)
        deviations = [math.sqrt(covariance(values, values, 0) + 1e-5) for values in (x, y)]
        c = covariance(x, y, 0) / math.prod(deviations)
        expected += (1 - c) ** 2 if i == j else 0.1 * c**2
    assert float(BarlowTwins(0.1)(query, key.detach())) == pytest.approx(expected, rel=1e-12)


def test_vicreg_is_its_three_terms() -> None:
    query, key = tables()
    s = mean([float(difference) ** 2 for difference in (query - key).detach().flatten()])
    v = c = 0.0
    for z in (query, key):
        for i, j in itertools.product(range(WIDTH), range(WIDTH)):
            cov = covariance(column(z, i), column(z, j), 1)
            if i == j:
                v += max(0.0, 1 - math.sqrt(cov + 1e-4)) / WIDTH / 2
            else:
                c += cov**2 / WIDTH
    for weights in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (25.0, 25.0, 1.0)):
        expected = weights[0] * s + weights[1] * v + weights[2] * c
        assert float(VICReg(*weights)(query, key)) == pytest.approx(expected, rel=1e-12)


def test_whitening_is_the_mean_square_of_whitened_pairs_slice_by_slice() -> None:
    query, key = tables(24, 3)
    loss = Whitening(size=8, iterations=2)
    torch.manual_seed(5)
    found = loss(query, key)
    torch.manual_seed(5)
    squares = []
    for _ in range(2):
        for rows in torch.randperm(24).view(3, 8):
            sides = []
            for z in (query, key):
                part = z[rows].detach()
                factor = torch.linalg.cholesky(torch.cov(part.T)).inverse()
                sides.append(torch.stack([factor @ (row - part.mean(0)) for row in part]))
            for x, y in zip(*sides, strict=True):
                squares.append(float((x / x.norm() - y / y.norm()).square().sum()))
    assert float(found) == pytest.approx(mean(squares), rel=1e-12)


@settings(deadline=None, max_examples=25)
@given(width=st.integers(1, 6), more=st.integers(0, 20), seed=st.integers(0, 99))
def test_whitened_rows_have_the_identity_as_covariance(width: int, more: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(2 * width + more, width, generator=generator, dtype=torch.float64)
    mixed = z @ torch.randn(width, width, generator=generator, dtype=torch.float64) + 3
    found = whitened(mixed)
    torch.testing.assert_close(found.mean(0), torch.zeros(width, dtype=torch.float64), rtol=0, atol=1e-6)
    torch.testing.assert_close(torch.cov(found.T).view(width, width), torch.eye(width).double(), rtol=1e-6, atol=1e-6)


def test_pairs_that_fill_no_slice_of_their_own_join_the_others() -> None:
    """11 pairs in slices of 4 or more: 6 and 5; every pair counts."""
    query, key = tables(11, 2)
    Whitening(size=4)(query, key).backward()
    assert bool((key.grad != 0).any(1).all())  # type: ignore[union-attr]


def test_alignment_uniformity_counts_every_pair_of_rows_once() -> None:
    query, key = tables(6, 3)
    x, y = F.normalize(query, dim=1), F.normalize(key.detach(), dim=1)
    aligned = mean([math.dist(a, b) ** 1.5 for a, b in zip(x.tolist(), y.tolist(), strict=True)])
    spreads = [
        math.log(mean([math.exp(-3 * math.dist(a, b) ** 2) for a, b in itertools.combinations(z.tolist(), 2)]))
        for z in (x, y)
    ]
    found = AlignmentUniformity(uniformity=0.7, power=1.5, t=3.0)(query, key)
    assert float(found) == pytest.approx(aligned + 0.7 * mean(spreads), rel=1e-12)


def test_alignment_uniformity_is_the_figures_of_the_evaluation() -> None:
    query, key = tables()
    expected = alignment(query, key) + (uniformity(query) + uniformity(key)) / 2
    assert torch.equal(AlignmentUniformity()(query, key), expected)


def test_swapped_assignment_is_cross_entropy_with_assignments_of_all_keys() -> None:
    query, key = tables()
    loss = SwappedAssignment(7, WIDTH).double()
    shares = [[math.exp(float(cosine - 1) / 0.05) for cosine in row] for row in F.normalize(key, dim=1) @ loss.table.T]
    for _ in range(3):
        columns = [sum(row[k] for row in shares) for k in range(7)]
        shares = [[value / total for value, total in zip(row, columns, strict=True)] for row in shares]
        shares = [[value / sum(row) for value in row] for row in shares]
    expected = []
    for row, q in zip(F.normalize(query, dim=1), shares, strict=True):
        logits = [float(row @ prototype) / 0.1 for prototype in loss.table]
        logsum = math.log(sum(map(math.exp, logits)))
        expected.append(-sum(share * (logit - logsum) for share, logit in zip(q, logits, strict=True)))
    torch.testing.assert_close(loss(query, key).detach(), torch.tensor(expected).double(), rtol=1e-6, atol=0)


def test_regression_is_two_less_two_cosines() -> None:
    query, key = tables()
    expected = [2 - 2 * float(q @ k / q.norm() / k.norm()) for q, k in zip(query, key, strict=True)]
    torch.testing.assert_close(Regression()(query, key).detach(), torch.tensor(expected).double())


@pytest.mark.parametrize("name", losses())
def test_gradients_are_those_of_the_values(name: str) -> None:
    loss = losses()[name].double()
    query, key = (torch.randn(2, 8, 3 if name != "swapped-assignment" else WIDTH, dtype=torch.float64)).unbind()
    inputs = [query.requires_grad_()]
    if name == "swapped-assignment":
        # The assignment has no gradient, so the key is none of the inputs.
        assert torch.autograd.gradcheck(lambda q: loss(q, key), inputs)
        return

    def value(q: Tensor, k: Tensor) -> Tensor:
        torch.manual_seed(1)  # which pairs share a slice
        return loss(q, k)

    assert torch.autograd.gradcheck(value, [*inputs, key.requires_grad_()])


# -- invariances -------------------------------------------------------------------------------------------


def test_the_order_of_pairs_and_of_sides_doesn_t_matter() -> None:
    query, key = tables()
    order = torch.randperm(PAIRS)
    for name, loss in losses().items():
        if name in ("whitening", "swapped-assignment"):
            continue  # dealt at random; not the same from both sides
        value = loss(query, key).mean()
        torch.testing.assert_close(loss(query[order], key[order]).mean(), value, msg=name)
        if name != "barlow-twins":
            torch.testing.assert_close(loss(key, query).mean(), value, msg=name)
    transposed = BarlowTwins()(key, query)
    torch.testing.assert_close(transposed, BarlowTwins()(query, key), msg="C becomes its transpose")


def test_scale_and_shift_of_a_dimension_are_nothing_to_barlow_twins_nor_triangular_maps_to_whitening() -> None:
    query, key = tables(40, 4)
    torch.testing.assert_close(
        BarlowTwins()(query * 300 + 4, key * 100 - 1), BarlowTwins()(query * 100, key * 100), rtol=1e-6, atol=1e-6
    )
    triangular = torch.randn(4, 4, dtype=torch.float64).tril(-1) + 2 * torch.eye(4)
    values = []
    for q in (query, query @ triangular.T + 1):
        torch.manual_seed(2)
        values.append(Whitening()(q, key))
    torch.testing.assert_close(*values)


# -- collapse ----------------------------------------------------------------------------------------------


def test_what_equal_embeddings_cost() -> None:
    point = torch.randn(1, WIDTH, dtype=torch.float64).expand(PAIRS, -1)
    assert float(BarlowTwins()(point, point)) == pytest.approx(WIDTH, abs=1e-9)
    assert float(VICReg()(point, point)) == pytest.approx(25 * 0.99)
    assert float(AlignmentUniformity()(point, point)) == pytest.approx(0, abs=1e-12)
    assert float(Whitening(epsilon=0.01)(point, point)) == pytest.approx(2, abs=1e-9)
    assert float(Regression()(point, point).mean()) == pytest.approx(0, abs=1e-12)
    swapped = SwappedAssignment(4, WIDTH).double()
    with torch.no_grad():
        swapped.table.copy_(torch.eye(WIDTH)[:4])
    far = torch.eye(WIDTH, dtype=torch.float64)[4].expand(PAIRS, -1)
    torch.testing.assert_close(swapped(far, far).detach(), torch.full((PAIRS,), math.log(4), dtype=torch.float64))


def test_collapsed_embeddings_can_t_be_whitened_and_that_is_said() -> None:
    point = torch.ones(PAIRS, WIDTH)
    with pytest.raises(CrlError, match=r"\bdirections\b.*\bcollapsed\b"):
        Whitening()(point, point)
    flat = torch.cat([torch.randn(PAIRS, 2), torch.zeros(PAIRS, 1)], 1)
    with pytest.raises(CrlError, match="14 embeddings of 3 dimensions"):
        Whitening(size=14)(flat, flat)


def test_perfect_embeddings_cost_nothing() -> None:
    """Independent dimensions of variance 1, the same in both views."""
    z = whitened(torch.randn(64, 4, dtype=torch.float64))
    assert float(VICReg()(z, z)) == pytest.approx(0, abs=1e-9)
    assert float(BarlowTwins()(z, z)) == pytest.approx(0, abs=1e-6)
    assert float(Whitening()(z, z)) == pytest.approx(0, abs=1e-9)


# -- assignments -------------------------------------------------------------------------------------------


def wrong_axis(cosine: Tensor, epsilon: float, iterations: int) -> Tensor:
    return sinkhorn(cosine.T, epsilon, iterations).T


def check_marginals(assign: Callable[[Tensor, float, int], Tensor]) -> None:
    # Nearly all rows lie nearest to the last prototypes.
    cosines = torch.rand(40, 10, dtype=torch.float64) * 0.5 + torch.linspace(-0.5, 0.5, 10, dtype=torch.float64)
    torch.testing.assert_close(
        assign(cosines, 0.05, 3).sum(1), torch.ones(40, dtype=torch.float64), msg="a row is assigned once"
    )
    uneven = [float((assign(cosines, 0.05, n).sum(0) - 4).abs().max()) for n in (1, 3, 10, 100)]
    assert sorted(uneven, reverse=True) == uneven, "the shares come ever closer to equal"
    assert uneven[1] < 0.05 * float(((cosines / 0.05).softmax(1).sum(0) - 4).abs().max())
    assert uneven[-1] < 1e-6


def test_sinkhorns_marginals() -> None:
    check_marginals(sinkhorn)


def test_a_sinkhorn_over_the_wrong_axis_is_caught() -> None:
    with pytest.raises(AssertionError, match="assigned once"):
        check_marginals(wrong_axis)


def test_every_crop_counts_alike_however_often_it_is_a_key() -> None:
    cosines = torch.rand(6, 4, dtype=torch.float64)
    torch.testing.assert_close(sinkhorn(cosines.repeat(3, 1), 0.05, 3)[:6], sinkhorn(cosines, 0.05, 3))


def test_assignments_survive_opposite_points_in_float32() -> None:
    cosines = torch.tensor([[1.0, -1.0]]).repeat(8, 1)
    found = sinkhorn(cosines, 0.025, 3)
    torch.testing.assert_close(found, torch.full((8, 2), 0.5))


def test_held_prototypes_have_a_gradient_of_zero_and_stay() -> None:
    loss = SwappedAssignment(6, WIDTH, frozen=2)
    optimiser = torch.optim.AdamW(loss.parameters(), 1e-2, weight_decay=0.1)
    before = loss.table.detach().clone()
    for epoch, held in enumerate((True, True, False)):
        loss.on_epoch(Progress(epoch, 3, epoch, 3), lambda branch: pytest.fail("asks for nothing"))
        loss(torch.randn(8, WIDTH), torch.randn(8, WIDTH)).mean().backward()
        assert loss.table.grad is not None
        assert bool((loss.table.grad == 0).all()) == held
        optimiser.step()
        optimiser.zero_grad()
        loss.on_step(Progress(epoch + 1, 3, epoch, 3))
        torch.testing.assert_close(loss.table.detach().norm(dim=1), torch.ones(6))
        assert torch.allclose(loss.table, before, atol=1e-6) == held
    again = SwappedAssignment(6, WIDTH, frozen=2)
    loss.on_epoch(Progress(0, 3, 0, 3), lambda branch: pytest.fail("asks for nothing"))
    again.load_state_dict(loss.state_dict())
    assert again.held, "a run that goes on within the first epochs still holds the prototypes"


# -- in a contrast -----------------------------------------------------------------------------------------


def contrast(loss: nn.Module, both: bool) -> tuple[Contrast, dict[str, Embeddings]]:
    """Pairs of two views: once each, or in both directions."""
    query, key = tables()
    columns = {"instance": torch.arange(PAIRS)}
    table = {
        "a": Embeddings(query, {**columns, "row": torch.arange(PAIRS)}),
        "b": Embeddings(key, {**columns, "row": torch.arange(PAIRS) + PAIRS}),
    }
    if both:
        return Contrast(("a", "b"), ("a", "b"), loss=loss, positive=same("instance") & ~same("row")), table
    return Contrast("a", "b", loss=loss, positive=same("instance")), table


def test_a_contrast_hands_over_every_pair_once() -> None:
    for name, loss in losses().items():
        term, table = contrast(loss.double(), both=False)
        torch.manual_seed(3)
        found = term(table).value
        torch.manual_seed(3)
        torch.testing.assert_close(found, loss(table["a"].z, table["b"].z).mean(), msg=name)


def test_pairs_in_both_directions_are_both_orders_one_below_the_other() -> None:
    for name, loss in losses().items():
        term, table = contrast(loss.double(), both=True)
        one, other = table["a"].z, table["b"].z
        torch.manual_seed(3)
        found = term(table).value
        torch.manual_seed(3)
        torch.testing.assert_close(found, loss(torch.cat([one, other]), torch.cat([other, one])).mean(), msg=name)
        if name == "regression":
            torch.testing.assert_close(found, loss(one, other).mean())
        if name == "barlow-twins":
            z = F.batch_norm(torch.cat([one, other]), None, None, training=True)
            c = z[:PAIRS].T @ z[PAIRS:] / PAIRS
            c = (c + c.T) / 2
            expected = ((1 - c.diag()) ** 2).sum() + 0.005 * (c - c.diag().diag()).square().sum()
            torch.testing.assert_close(found, expected)


def test_keys_of_a_memory_are_pairs_as_those_of_the_batch() -> None:
    """The formula on all positive pairs: with the other view, and with what is held of the same item."""
    for name, loss in losses().items():
        term, table = contrast(loss.double(), both=False)
        a, b = table["a"], table["b"]
        queue = crl.Queue(len(a))
        kept = torch.randn(len(a), a.z.shape[1], dtype=torch.float64)
        queue.update(crl.Embeddings(kept, b.meta))
        remembering = Contrast("a", "b", loss=loss, positive=term.positive, keys=queue).double()
        torch.manual_seed(3)
        found = remembering(table).value
        torch.manual_seed(3)
        both = torch.stack([b.z, kept], 1).flatten(0, 1)
        expected = loss(a.z.repeat_interleave(2, 0), both).mean()
        torch.testing.assert_close(found, expected, msg=name)


# -- bad input and small types -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["barlow-twins", "vicreg", "whitening", "alignment-uniformity"])
def test_a_batch_of_one_has_no_statistics(name: str) -> None:
    loss = losses()[name]
    for count in (0, 1):
        with pytest.raises(CrlError, match=rf"\b2 positive pairs\b.*{count}.*\bbatch\b"):
            loss(torch.randn(count, WIDTH), torch.randn(count, WIDTH))


@pytest.mark.parametrize("name", [name for name in losses() if name != "regression"])
def test_sides_that_don_t_fit_are_refused(name: str) -> None:
    loss = losses()[name]
    with pytest.raises(CrlError, match=r"these are \[14, 5\] and \[14, 4\]"):
        loss(torch.randn(PAIRS, WIDTH), torch.randn(PAIRS, WIDTH - 1))


def test_whitening_says_what_it_lacks() -> None:
    with pytest.raises(CrlError, match=r"\b14 positive pairs\b.*\bslice\b.*\b16\b.*\bhead\b.*\b7\b"):
        Whitening()(*tables(14, 8))
    with pytest.raises(CrlError, match=r"8 dimensions .*slices of 10 pairs: size=16 or more"):
        Whitening(size=10)(*tables(40, 8))
    with pytest.raises(CrlError, match=r"\bprototypes\b.*\bwidth 5\b.*\b8\b.*`width`"):
        losses()["swapped-assignment"](*tables(14, 8))


@pytest.mark.parametrize(
    ("part", "options"),
    [
        (BarlowTwins, {"redundancy": -1.0}),
        (VICReg, {"covariance": -1.0}),
        (VICReg, {"variance": math.nan}),
        (Whitening, {"size": 1}),
        (Whitening, {"iterations": 0}),
        (Whitening, {"epsilon": 1.0}),
        (AlignmentUniformity, {"t": 0.0}),
        (AlignmentUniformity, {"power": -1.0}),
        (SwappedAssignment, {"temperature": 0.0}),
        (SwappedAssignment, {"prototypes": 1}),
        (SwappedAssignment, {"epsilon": 0.0}),
        (SwappedAssignment, {"iterations": 0}),
        (SwappedAssignment, {"frozen": -1}),
    ],
)
def test_options_that_make_no_sense_are_refused(part: type[nn.Module], options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        part(**options)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", losses())
def test_small_types_give_the_value_of_large_ones(name: str, dtype: torch.dtype) -> None:
    loss = losses()[name]
    query, key = (z.detach().to(dtype).requires_grad_() for z in tables(64))
    torch.manual_seed(4)
    found = loss(query, key).mean()
    found.backward()
    torch.manual_seed(4)
    expected = loss.double()(query.detach().double(), key.detach().double()).mean()
    torch.testing.assert_close(found.double(), expected, rtol=1e-4 if name != "regression" else 2e-2, atol=1e-4)
    assert query.grad is not None
    assert bool(query.grad.isfinite().all())


# -- training ----------------------------------------------------------------------------------------------


def two_views(loss: nn.Module, key: Branch) -> Pipeline:
    return Pipeline(
        Noisy(),
        branches={"query": Branch("a", encoder=Perceptron(), head=crl.MLP(WIDTH)), "key": key},
        contrasts=[Contrast("query", "key", loss=loss)],
    )


def trained(pipeline: Pipeline, steps: int = 120) -> tuple[float, float]:
    """How far the items lie apart, and how far the two views of an item, after training on their views."""
    torch.manual_seed(0)
    batch = Points().items("train").__getitems__(list(range(48)))
    pipeline.build(batch).train()
    optimiser = torch.optim.AdamW(pipeline.parameters(), 1e-2)
    for _ in range(steps):
        optimiser.zero_grad()
        pipeline.loss(batch).total.backward()
        optimiser.step()
        pipeline.on_step()
    with torch.no_grad():
        table = pipeline.embed(pipeline.sampler(batch))
        one, other = (table[name].z for name in ("query", "key"))
        return float(spread(one)), float(alignment(one, other))


@pytest.mark.parametrize("name", [name for name in losses() if name != "regression"])
def test_they_bring_views_together_and_keep_items_apart(name: str) -> None:
    """Over 4 seeds, spread .61 to 1.01, where collapse is .002, and squared distance of two views .02 to .19."""
    apart, near = trained(two_views(losses()[name], Branch("b", tracks="query")))
    assert apart > 0.5, (apart, near)
    assert near < 0.3, (apart, near)


def test_regression_onto_what_is_trained_with_it_collapses() -> None:
    """BYOL without predictor, and with gradients into both sides: all items end in one point, spread .002."""
    pipeline = two_views(Regression(), Branch("b", tracks="query"))
    pipeline.branches["query"].head = crl.MLP(WIDTH, norm=False)
    pipeline.branches["query"].encoder = Perceptron(norm=False)
    apart, near = trained(pipeline)
    assert apart < 0.02, (apart, near)
    assert near < 1e-4
