"""Every loss on scores against its formula, written out as loops over queries, positives and negatives."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from small import LargestTensor
from torch import Tensor, nn

import crl_core as crl
from crl_core import Cosine, CrlError, Dot, Embeddings, InfoNCE, Pairs, Progress, Scores, same
from crl_core.contracts.kernels import Problem
from crl_core.data.pairs import Candidates, Summed
from crl_core.kernels import blockwise, by_tiles
from crl_core.kernels.blockwise import Blockwise
from crl_core.kernels.dense import Dense
from crl_core.kernels.strips import Strips
from crl_core.registry.kernels import choose_kernel

QUERIES, KEYS = 7, 11


def some_scores(seed: int = 0, distances: bool = False) -> tuple[Scores, list[tuple[list[float], list[float]]]]:
    """Scores of seven queries with several positives each, and the same as plain lists."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(QUERIES, KEYS, generator=generator, dtype=torch.float64)
    values = -values.abs() if distances else values
    kind = torch.randint(0, 3, values.shape, generator=generator)
    kind[:, 0], kind[:, 1] = 1, 0  # at least one of each; 2 is neither
    lists = [(values[i][kind[i] == 1].tolist(), values[i][kind[i] == 0].tolist()) for i in range(QUERIES)]
    return Scores.of(values.requires_grad_(), kind == 1, kind == 0), lists


def log_sum_exp(values: list[float]) -> float:
    return math.log(sum(map(math.exp, values)))


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def relu(x: float) -> float:
    return max(0.0, x)


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def debiased(p: list[float], n: list[float], beta: float, prior: float, lowest: float) -> float:
    positive, count = log_sum_exp(p), len(n)
    weights = [math.exp(beta * s) for s in n]
    hard = count * sum(w * math.exp(s) for w, s in zip(weights, n, strict=True)) / sum(weights)
    rest = max((hard - count * prior * math.exp(positive)) / (1 - prior), count * lowest)
    return -math.log(math.exp(positive) / (math.exp(positive) + rest))


Formula = Callable[[list[float], list[float]], float]
CASES: dict[str, tuple[nn.Module, Formula]] = {
    "InfoNCE, each": (InfoNCE("each"), lambda p, n: sum(softplus(log_sum_exp(n) - s) for s in p)),
    "InfoNCE, inside": (InfoNCE("inside"), lambda p, n: softplus(log_sum_exp(n) - log_sum_exp(p))),
    "InfoNCE, outside": (InfoNCE(), lambda p, n: mean([log_sum_exp(p + n) - s for s in p])),
    "Decoupled": (crl.Decoupled(), lambda p, n: log_sum_exp(n) - mean(p)),
    "HardNegatives": (crl.HardNegatives(0.7, 0.05, 0.2), lambda p, n: debiased(p, n, 0.7, 0.05, 0.2)),
    "HardNegatives, debiased": (crl.HardNegatives(0.0, 0.2), lambda p, n: debiased(p, n, 0.0, 0.2, math.exp(-2))),
    "RINCE": (
        crl.RINCE(0.3, 0.05),
        lambda p, n: (
            -math.exp(0.3 * log_sum_exp(p)) / 0.3 + (0.05 * sum(map(math.exp, p + n))) ** 0.3 / 0.3
        ),
    ),
    "Sigmoid": (crl.Sigmoid(), lambda p, n: sum(softplus(-s) for s in p) + sum(map(softplus, n))),
    "NegativeSampling": (
        crl.NegativeSampling(), lambda p, n: -sum(math.log(1 / (1 + math.exp(-s))) for s in p)
        - sum(math.log(1 / (1 + math.exp(s))) for s in n),
    ),
    "DonskerVaradhan": (crl.DonskerVaradhan(), lambda p, n: math.log(mean([math.exp(s) for s in n])) - mean(p)),
    "JensenShannon": (crl.JensenShannon(), lambda p, n: mean([softplus(-s) for s in p]) + mean(list(map(softplus, n)))),
    "NWJ": (crl.NWJ(), lambda p, n: mean([math.exp(s - 1) for s in n]) - mean(p)),
    "Triplet, all": (crl.Triplet(0.3), lambda p, n: sum(relu(0.3 + b - a) for a in p for b in n)),
    "Triplet, hard": (crl.Triplet(0.3, mining="hard"), lambda p, n: relu(0.3 + max(n) - min(p))),
    "Triplet, soft": (crl.Triplet(form="soft", mining="hard"), lambda p, n: softplus(max(n) - min(p))),
    "Triplet, ratio": (
        crl.Triplet(form="ratio", mining="easy-positive"),
        lambda p, n: (math.exp(max(n)) / (math.exp(max(p)) + math.exp(max(n)))) ** 2,
    ),
    "Triplet, semi-hard": (
        crl.Triplet(0.3, mining="semi-hard"),
        lambda p, n: sum(relu(0.3 + max(b for b in n if b < a) - a) for a in p if any(b < a for b in n)),
    ),
}  # fmt: skip
DISTANCES: dict[str, tuple[nn.Module, Formula]] = {
    "Pair": (crl.Pair(1.2), lambda p, n: sum(s * s for s in p) + sum(relu(1.2 + s) ** 2 for s in n)),
    "Pair, squared": (crl.Pair(1.2, "squared"), lambda p, n: sum(s * s for s in p) + sum(relu(1.2 - s * s) for s in n)),
    "Lifted": (crl.Lifted(0.6), lambda p, n: relu(log_sum_exp([-s for s in p]) + log_sum_exp([0.6 + s for s in n]))),
    "Margin": (
        crl.Margin(0.2, 0.7), lambda p, n: sum(relu(-s - 0.5) for s in p) + sum(relu(0.9 + s) for s in n)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", [*CASES, *DISTANCES])
def test_a_loss_is_its_formula(name: str) -> None:
    loss, formula = (CASES | DISTANCES)[name]
    for seed in range(5):
        scores, lists = some_scores(seed, distances=name in DISTANCES)
        found = loss(scores)
        value = found.value if isinstance(found, Summed) else found
        expected = torch.tensor([formula(p, n) for p, n in lists], dtype=torch.float64)
        torch.testing.assert_close(value, expected)
        (gradient,) = torch.autograd.grad(value.sum(), scores.positive.values)
        assert gradient.isfinite().all()


@pytest.mark.parametrize("name", [*CASES, *DISTANCES])
def test_its_gradient_is_that_of_finite_differences(name: str) -> None:
    loss, _ = (CASES | DISTANCES)[name]
    scores, _ = some_scores(3, distances=name in DISTANCES)
    masks = scores.positive.mask, scores.negative.mask

    def value(values: Tensor) -> Tensor:
        found = loss(Scores.of(values, *masks))
        return found.value if isinstance(found, Summed) else found

    assert torch.autograd.gradcheck(value, scores.positive.values)


@pytest.mark.parametrize(
    ("loss", "terms"),
    [
        (InfoNCE("each"), lambda p, n: len(p)),
        (crl.Triplet(0.3), lambda p, n: sum(0.3 + b - a > 0 for a in p for b in n)),
        (crl.Pair(), lambda p, n: len(p) + len(n)),
        (crl.Triplet(0.3, mining="semi-hard"), lambda p, n: sum(any(b < a for b in n) for a in p)),
    ],
)
def test_a_sum_says_of_how_many_terms(loss: nn.Module, terms: Callable[[list[float], list[float]], int]) -> None:
    scores, lists = some_scores(1)
    assert loss(scores).terms.tolist() == [terms(p, n) for p, n in lists]


# -- of all queries together -----------------------------------------------------------------------------------


def lifted_structure(z: Tensor, label: list[int], margin: float) -> Tensor:
    """Oh Song et al. 2016, equation 4, over all positive pairs, each in both directions."""
    distance = (z[:, None] - z[None]).square().sum(-1).clamp(min=1e-30).sqrt()
    losses = []
    for i, mine in enumerate(label):
        for j, theirs in enumerate(label):
            if i != j and mine == theirs:
                ends = [(i, k) for k, other in enumerate(label) if other != mine]
                ends += [(j, k) for k, other in enumerate(label) if other != theirs]
                pushes = sum(((margin - distance[end]).exp() for end in ends), z.new_zeros(()))
                losses.append(F.relu(pushes.log() + distance[i, j]).square() / 2 if ends else z.new_zeros(()))
    return torch.stack(losses).mean() + 0 * z.sum()


@pytest.mark.parametrize("kernel", ["dense", "strips", "blockwise"])
@pytest.mark.parametrize("label", [[0, 0, 1, 1, 1, 2, 0, 3], [0, 0, 0, 0, 0, 0, 0, 0]], ids=["classes", "one class"])
def test_lifted_structure_is_the_papers_equation(
    kernel: str, label: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A label that occurs once is a negative of the others, and without any negatives there is no loss."""
    monkeypatch.setattr(blockwise, "MOST", 0)
    monkeypatch.setattr(by_tiles, "TILE", 3)
    z = torch.randn(8, 5, dtype=torch.float64, requires_grad=True)
    rows = Embeddings(z, {"label": torch.tensor(label), "row": torch.arange(8)})
    monkeypatch.setattr(Pairs, "strips", lambda self: iter([slice(0, 3), slice(3, 8)]))
    # Distances are no product; for directions, half of the squared distance is 1 less one.
    contrast = crl.Contrast(
        "z", "z", loss=crl.LiftedStructure(0.7), positive=same("label") & ~same("row"), kernel=kernel
    )
    assert isinstance(contrast.score, crl.L2), "the distance that it wants"
    if kernel == "blockwise":
        contrast.score = Dot()
    term = contrast({"z": rows})
    assert int(term.ignored) == sum(label.count(one) == 1 for one in label)
    if kernel == "blockwise":
        contrast.kernel = "dense"
        expected = contrast({"z": rows}).value
    else:
        expected = lifted_structure(z, label, 0.7)
    torch.testing.assert_close(term.value, expected)
    gradients = [torch.autograd.grad(value, z)[0] for value in (term.value, expected)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("count", [12, 1_100])
@pytest.mark.parametrize("score", [Cosine(0.5, bias=-1.0), crl.Bilinear(), Dot()], ids=["bias", "bilinear", "dot"])
def test_lifted_structure_takes_scores_of_two_tables(score: nn.Module, count: int) -> None:
    torch.manual_seed(0)
    z = torch.randn(count, 5, dtype=torch.float64, requires_grad=True)
    table = {"z": Embeddings(z, {"label": torch.arange(count) // 4, "row": torch.arange(count)})}
    positive = same("label") & ~same("row")
    with pytest.raises(CrlError, match=r"\bdistance\b"):
        crl.Contrast("z", "z", loss=crl.LiftedStructure(0.7), score=score, positive=positive)
    contrast = crl.Contrast("z", "z", loss=crl.LiftedStructure(0.7), positive=positive).double()
    contrast.score = score.double()  # as a formula, it takes any score
    contrast.build(table)
    found = []
    for contrast.kernel in ("auto", "dense"):
        value = contrast(table).value
        found.append((value, *torch.autograd.grad(value, z)))
    torch.testing.assert_close(*found)


def test_lifted_structure_without_the_keys_own_negatives_would_be_caught() -> None:
    class OneSided(crl.LiftedStructure):
        def _pair(self, score: Tensor, mine: Tensor, theirs: Tensor) -> Tensor:
            return super()._pair(score, mine, mine)

    z = torch.randn(8, 5, dtype=torch.float64)
    label = [0, 0, 1, 1, 1, 2, 0, 3]
    rows = Embeddings(z, {"label": torch.tensor(label), "row": torch.arange(8)})
    options = {"score": crl.L2(), "positive": same("label") & ~same("row")}
    found = crl.Contrast("z", "z", loss=OneSided(0.7), **options)({"z": rows}).value
    assert abs(float(found - lifted_structure(z, label, 0.7))) > 1e-2


def test_what_sees_all_queries_together_wants_queries_that_are_the_keys() -> None:
    for options in ({"key": "k"}, {"key": "q", "keys": crl.Queue(4)}, {"key": "q", "keys": crl.Drawn(3)}):
        with pytest.raises(CrlError, match=r"\bLiftedStructure\b.*\bqueries\b.*\bkeys\b"):
            crl.Contrast("q", loss=crl.LiftedStructure(), **options)  # type: ignore[arg-type]
    with pytest.raises(CrlError, match=r"\bqueries\b.*\bkeys\b"):
        crl.LiftedStructure()(some_scores()[0])


@pytest.mark.parametrize("score", [crl.L2(), Cosine(1.0)])
def test_lifted_structure_makes_no_tensor_of_all_pairs(score: nn.Module) -> None:
    count = 6_000
    z = torch.randn(count, 8, requires_grad=True)
    rows = Embeddings(z, {"label": torch.arange(count) // 4, "row": torch.arange(count)})
    pairs = Pairs(rows, (rows,), same("label") & ~same("row"), ~same("label"))
    problem = Problem(pairs, score, crl.LiftedStructure())
    with LargestTensor() as largest:
        choose_kernel("auto", problem)(problem).total.backward()
    assert 0 < largest.numel < count * count / 10


# -- identities ------------------------------------------------------------------------------------------------


def in_batch(loss: nn.Module, count: int = 9, score: nn.Module | None = None) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    tables = [
        Embeddings(torch.randn(count, 5, generator=generator, dtype=torch.float64), {"instance": torch.arange(count)})
        for _ in range(2)
    ]
    pairs = Pairs(tables[0], (tables[1],), same("instance"), ~same("instance"))
    return Dense()(Problem(pairs, score or Cosine(0.3), loss)).values


def test_without_weights_and_prior_hard_negatives_are_info_nce() -> None:
    torch.testing.assert_close(in_batch(crl.HardNegatives(0.0, 0.0)), in_batch(InfoNCE()))


def test_rince_becomes_info_nce() -> None:
    """Up to the constant that q takes with it: (1 - exp(-q x)) / q -> x."""
    torch.testing.assert_close(in_batch(crl.RINCE(1e-7, 1.0)), in_batch(InfoNCE()), atol=1e-5, rtol=1e-5)


def test_a_smooth_triplet_is_info_nce_with_one_negative() -> None:
    torch.testing.assert_close(in_batch(crl.Triplet(form="soft", mining="hard"), 2), in_batch(InfoNCE(), 2))


def test_decoupled_is_donsker_varadhan_up_to_the_number_of_negatives() -> None:
    torch.testing.assert_close(in_batch(crl.Decoupled()) - math.log(8), in_batch(crl.DonskerVaradhan()))


def test_n_pair_is_cross_entropy_of_dot_products() -> None:
    generator = torch.Generator().manual_seed(1)
    query, key = (torch.randn(9, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    expected = F.cross_entropy(query @ key.T, torch.arange(9), reduction="none")
    torch.testing.assert_close(in_batch(InfoNCE(), score=Dot()), expected)


def test_equal_scores_give_known_values() -> None:
    values = torch.zeros(3, 5, dtype=torch.float64)
    scores = Scores.of(values, torch.arange(5).expand(3, 5) == 0)
    log2 = math.log(2)
    for loss, known in (
        (InfoNCE(), math.log(5)), (crl.Decoupled(), math.log(4)), (crl.Sigmoid(), 5 * log2),
        (crl.JensenShannon(), 2 * log2), (crl.DonskerVaradhan(), 0.0), (crl.NWJ(), math.exp(-1)),
    ):  # fmt: skip
        torch.testing.assert_close(loss(scores), torch.full((3,), known, dtype=torch.float64))


def gaussians(information: float, count: int) -> tuple[Tensor, Tensor]:
    """Pairs of numbers with this mutual information, and the log-density ratio of all pairs: the best score."""
    rho = math.sqrt(1 - math.exp(-2 * information))
    x, e = torch.randn(2, count, dtype=torch.float64)
    y = rho * x + math.sqrt(1 - rho**2) * e
    square = (x[:, None] ** 2 + y[None] ** 2) * rho**2 - 2 * rho * x[:, None] * y[None]
    return y, -0.5 * math.log(1 - rho**2) - square / (2 * (1 - rho**2))


@pytest.mark.parametrize("information", [0.25, 1.0])
def test_the_bounds_find_the_information_of_gaussians(information: float) -> None:
    """With the true ratio as score, in nats; InfoNCE can't find more than log K, nor quite as much."""
    torch.manual_seed(0)
    _, ratio = gaussians(information, 2_000)
    scores = Scores.of(ratio, torch.eye(2_000, dtype=torch.bool))
    estimates = {
        "DV": -crl.DonskerVaradhan()(scores).mean(),
        "NWJ": -crl.NWJ()(Scores.of(ratio + 1, torch.eye(2_000, dtype=torch.bool))).mean(),
        "InfoNCE": math.log(2_000) - InfoNCE()(scores).mean(),
        "Jensen-Shannon": crl.JensenShannon().information(scores).mean(),
    }
    for name, found in estimates.items():
        assert float(found) == pytest.approx(information, abs=0.12), name


def test_each_estimate_has_its_bias() -> None:
    """Of 4 nats: InfoNCE stays below log K however much there is; the others come near, from many negatives."""
    torch.manual_seed(0)
    count, information = 3_000, 4.0
    _, ratio = gaussians(information, count)
    diagonal = torch.eye(count, dtype=torch.bool)
    found = {loss: float(loss.information(Scores.of(ratio, diagonal)).mean()) for loss in (
        InfoNCE(), crl.DonskerVaradhan(), crl.JensenShannon(),
    )}  # fmt: skip
    assert all(value == pytest.approx(information, abs=0.4) for value in found.values()), found
    few = [Scores.of(part, torch.eye(8, dtype=torch.bool)) for part in
           (ratio[i : i + 8, i : i + 8] for i in range(0, count, 8))]  # fmt: skip
    capped = torch.cat([InfoNCE().information(scores) for scores in few])
    assert 1.5 < float(capped.mean()) < math.log(8) < information
    assert float(capped.max()) <= math.log(8) + 1e-12
    # Of few negatives, that of Donsker and Varadhan is too high instead: the logarithm of a mean that misses what is
    # rare.
    assert float(torch.cat([crl.DonskerVaradhan().information(scores) for scores in few]).mean()) > information + 1


def test_a_wrong_score_says_less() -> None:
    torch.manual_seed(0)
    _, ratio = gaussians(1.0, 1_000)
    diagonal = torch.eye(1_000, dtype=torch.bool)
    for loss in (InfoNCE(), crl.DonskerVaradhan(), crl.JensenShannon()):
        best, worse = (float(loss.information(Scores.of(s, diagonal)).mean()) for s in (ratio, 0.3 * ratio))
        assert worse < best - 0.1, loss


@pytest.mark.parametrize("loss", [InfoNCE(), InfoNCE("each"), crl.DonskerVaradhan(), crl.NWJ(), crl.JensenShannon()])
def test_the_estimate_of_a_contrast_is_told(loss: nn.Module) -> None:
    from crl_core.look.diagnosis import information

    z, label = torch.randn(40, 5, dtype=torch.float64), torch.arange(40) // 3
    rows = Embeddings(z, {"label": label, "row": torch.arange(40), "instance": torch.arange(40)})
    contrast = crl.Contrast("z", "z", loss=loss, score=Cosine(0.5), positive=same("label") & ~same("row"))
    (told,) = information(contrast, contrast.pairs({"z": rows})).items()  # type: ignore[arg-type]
    same_label = label[:, None] == label
    positive = same_label & ~torch.eye(40, dtype=torch.bool)
    counted = positive.any(1)
    scores = Scores.of(F.normalize(z, dim=1) @ F.normalize(z, dim=1).T / 0.5, positive, ~same_label)
    assert told == ("z-nats", pytest.approx(float(loss.information(scores)[counted].mean())))
    if isinstance(loss, InfoNCE) and loss.positives == "outside":
        candidates = (positive | ~same_label).sum(1)
        expected = candidates.log() - loss(scores)
        assert told[1] == pytest.approx(float(expected[counted].mean()))


# -- drawn keys ------------------------------------------------------------------------------------------------


def drawn(log_noise: float, loss: nn.Module) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    values = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    positive = torch.arange(4).expand(6, 4) == 0
    scores = Scores.of(values, positive)
    return loss(Scores(scores.positive, scores.negative, torch.full_like(values, log_noise)))


def test_negative_sampling_can_be_summed_over_the_queries() -> None:
    torch.manual_seed(0)
    rows = crl.Embeddings(torch.randn(7, 4), {"label": torch.tensor([0, 0, 1, 1, 2, 2, 3])})  # the last has no positive
    branches = {"a": crl.Embeddings(rows.z, {**rows.meta, "row": torch.arange(7)})}
    positive, negative = crl.same("label") & ~crl.same("row"), ~crl.same("label")
    mean, total = (
        crl.Contrast("a", "a", loss=crl.NegativeSampling(summed), positive=positive, negative=negative)(branches).value
        for summed in (False, True)
    )
    torch.testing.assert_close(total, 6 * mean)


def test_nce_with_noise_of_one_over_k_is_negative_sampling() -> None:
    torch.testing.assert_close(drawn(-math.log(3), crl.NCE()), drawn(0.0, crl.NegativeSampling()))


def test_nce_is_the_posterior_of_the_data() -> None:
    """-log of P(data | key) = exp s / (exp s + K q), equation 8 of the review."""
    generator = torch.Generator().manual_seed(2)
    values = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    noise = 3 * 0.2
    data = values.exp() / (values.exp() + noise)
    expected = -data[:, 0].log() - (1 - data[:, 1:]).log().sum(1)
    torch.testing.assert_close(drawn(math.log(0.2), crl.NCE()), expected)


def test_ranking_nce_with_uniform_noise_is_info_nce() -> None:
    torch.testing.assert_close(drawn(-2.0, crl.RankingNCE()), drawn(0.0, InfoNCE()))


def test_the_normaliser_is_estimated_once_and_kept_in_the_state() -> None:
    loss = crl.NCE("first-batch")
    first = drawn(math.log(0.2), loss)
    generator = torch.Generator().manual_seed(2)
    values = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    log_z = (values[:, 1:].exp() / 0.2).mean().log()
    loss.on_step(Progress(1, 2, 0, 1))
    torch.testing.assert_close(loss.log_z.double(), log_z, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(drawn(math.log(0.2), loss), first)
    other = crl.NCE("first-batch")
    other.load_state_dict(loss.state_dict())
    torch.testing.assert_close(drawn(math.log(0.2), other), first)


def test_the_normaliser_is_estimated_at_low_temperatures_too() -> None:
    """exp(1 / 0.01) is more than float32 holds."""
    loss = crl.NCE("first-batch")
    values = torch.full((4, 9), 1 / 0.01)
    positive = torch.arange(9).expand(4, 9) == 0
    sides = Candidates(values, positive), Candidates(values, ~positive)
    loss(Scores(*sides, torch.full((4, 9), -math.log(9))))
    loss.on_step(Progress(1, 2, 0, 1))
    torch.testing.assert_close(loss.log_z, torch.tensor(100 + math.log(9)))


def test_a_first_batch_without_noise_leaves_the_normaliser_to_the_next() -> None:
    loss, values = crl.NCE("first-batch"), torch.zeros(4, 1)
    nothing = torch.zeros(4, 1, dtype=torch.bool)
    sides = Candidates(values, ~nothing), Candidates(values, nothing)
    assert loss(Scores(*sides, torch.zeros(4, 1))).isfinite().all()
    loss.on_step(Progress(1, 2, 0, 1))
    assert not loss.log_z.isfinite()


def test_a_step_that_is_given_up_leaves_no_normaliser() -> None:
    """All batches of one step share the first one's estimate, which is settled with the step alone."""
    step, log_noise = Progress(1, 2, 0, 1), math.log(0.2)
    loss, settled = crl.NCE("first-batch"), crl.NCE("first-batch")
    first = drawn(log_noise, settled)
    settled.on_step(step)
    drawn(math.log(0.7), loss)
    assert not loss.log_z.isfinite()
    loss.abandon()
    loss.on_step(step)
    assert not loss.log_z.isfinite(), "what was given up is not settled"
    assert torch.equal(drawn(log_noise, loss), first)
    assert torch.equal(drawn(math.log(0.7), loss), drawn(math.log(0.7), settled)), "the second batch of the step"
    loss.on_step(step)
    assert torch.equal(loss.log_z, settled.log_z)
    drawn(log_noise, loss := crl.NCE("first-batch").eval())
    loss.on_step(step)
    assert not loss.log_z.isfinite(), "evaluation leaves no trace"


@pytest.mark.parametrize("loss", [crl.NCE(), crl.RankingNCE()])
def test_without_known_noise_nce_says_so(loss: nn.Module) -> None:
    with pytest.raises(CrlError, match=r"\bprobability\b"):
        loss(some_scores()[0])


# -- numbers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kernel", [Blockwise(), Strips()], ids=["blockwise", "strips"])
def test_half_precision_at_a_low_temperature_stays_finite(name: str, dtype: torch.dtype, kernel: object) -> None:
    loss, _ = CASES[name]
    z = F.normalize(torch.randn(40, 16), dim=1).to(dtype).requires_grad_()
    rows = Embeddings(z, {"label": torch.arange(40) // 4, "row": torch.arange(40)})
    table = Embeddings(z.float(), rows.meta)  # as a contrast hands it over
    score = Cosine(0.01 if "RINCE" not in name and "NWJ" not in name else 0.5)  # which are exponentials of scores
    problem = Problem(Pairs(table, (table,), same("label") & ~same("row"), ~same("label")), score, loss)
    outcome = (kernel if not kernel.unsupported(problem) else Dense())(problem)  # type: ignore[attr-defined, operator]
    outcome.total.backward()
    assert outcome.total.isfinite()
    assert z.grad is not None
    assert z.grad.isfinite().all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: crl.Triplet(form="soft"), lambda: crl.HardNegatives(prior=1.0), lambda: crl.RINCE(q=0.0),
        lambda: Cosine(0.0), lambda: Cosine(float("nan")), lambda: Cosine(crl.Scheduled(0.1, 0.2), learned=True),
    ],
)  # fmt: skip
def test_nonsense_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="not"):
        make()
