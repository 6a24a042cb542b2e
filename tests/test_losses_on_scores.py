"""Every loss on scores against its formula, written out as loops over queries, positives and negatives."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import crl_core as crl
from crl_core import Cosine, CrlError, Dot, Embeddings, InfoNCE, Pairs, Scores, same
from crl_core.pairs import Summed
from crl_core.parts.kernels.blockwise import Blockwise
from crl_core.parts.kernels.dense import Dense
from crl_core.parts.kernels.strips import Strips
from crl_core.protocols import Problem

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
    }
    for name, found in estimates.items():
        assert float(found) == pytest.approx(information, abs=0.12), name
    few = Scores.of(ratio[:4, :4], torch.eye(4, dtype=torch.bool))
    assert float(math.log(4) - InfoNCE()(few).mean()) <= math.log(4)


# -- drawn keys ------------------------------------------------------------------------------------------------


def drawn(log_noise: float, loss: nn.Module) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    values = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    positive = torch.arange(4).expand(6, 4) == 0
    scores = Scores.of(values, positive)
    return loss(Scores(scores.positive, scores.negative, torch.full_like(values, log_noise)))


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
    torch.testing.assert_close(loss.log_z.double(), log_z, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(drawn(math.log(0.2), loss), first)
    other = crl.NCE("first-batch")
    other.load_state_dict(loss.state_dict())
    torch.testing.assert_close(drawn(math.log(0.2), other), first)


@pytest.mark.parametrize("loss", [crl.NCE(), crl.RankingNCE()])
def test_without_known_noise_nce_says_so(loss: nn.Module) -> None:
    with pytest.raises(CrlError, match="with what probability"):
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
        lambda: Cosine(0.0), lambda: Cosine(float("nan")), lambda: Cosine(0.1, learned=True, final=0.2),
    ],
)  # fmt: skip
def test_nonsense_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="not"):
        make()
