"""Optimisers, schedules and groups: who moves which weight, and by how much."""

from __future__ import annotations

import math
import tomllib
from typing import Any

import pytest
import torch
from small import Noisy, Perceptron, Points, byol, points, simclr
from torch import Tensor, nn

import crl_core as crl
from crl_core import CrlError, Group, Pipeline, Progress, Scheduled, Training
from crl_core.engine import checkpoint
from crl_core.engine.optimisers import load_optimiser_state, make_optimisers, optimiser_state, set_rates
from crl_core.registry.options import signature
from crl_core.spec.assembly import holder_from, options_of, part_from, part_of

DENSE: list[Any] = [
    crl.AdamW(1e-2),
    crl.Adam(1e-2),
    crl.SGD(0.1, momentum=0.9),
    crl.LARS(1.0, trust=0.02),
    crl.Adagrad(0.1),
]
SCHEDULES: list[Any] = [
    crl.Constant(),
    crl.CosineDecay(),
    crl.LinearDecay(),
    crl.Noam(),
    crl.StepDecay(),
    crl.TriStage(),
]


def factors(schedule: Any, steps: int, epochs: int = 1) -> list[float]:
    each = steps // epochs
    return [schedule(Progress(step, steps, step // each, epochs)) for step in range(steps)]


class Table(nn.Module):
    """A row for every item."""

    def __init__(self, rows: int = 12, sparse: bool = True) -> None:
        super().__init__()
        self.table = nn.Embedding(rows, 4, sparse=sparse)
        self.layer = nn.Linear(4, 4)

    def forward(self, index: Tensor) -> Tensor:
        found: Tensor = self.layer(self.table(index))
        return found


def stepped(module: nn.Module, optimisers: list[torch.optim.Optimizer], data: Tensor, steps: int = 3) -> float:
    loss = torch.zeros(())
    for step in range(steps):
        set_rates(optimisers, Progress(step, steps, 0, 1))
        loss = (module(data) - 1).square().mean()
        loss.backward()
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad()
    return float(loss.detach())


# -- optimisers --------------------------------------------------------------------------------------------------


def test_lars_is_the_papers_step_and_leaves_biases_to_sgd() -> None:
    layer = nn.Linear(3, 4, dtype=torch.float64)
    (optimiser,) = make_optimisers(layer, Training(optimiser=crl.LARS(0.5, 0.9, weight_decay=0.1, trust=0.02)))
    w, b = layer.weight.detach().clone(), layer.bias.detach().clone()
    v, u = torch.zeros_like(w), torch.zeros_like(b)
    for _ in range(3):
        layer.weight.grad, layer.bias.grad = torch.randn_like(w), torch.randn_like(b)
        # You et al. 2017, algorithm 1: λ = η ‖w‖ / ‖∇ + βw‖; v ← m v + λ (∇ + βw); w ← w - γ v.
        gradient = layer.weight.grad + 0.1 * w
        v = 0.9 * v + 0.02 * w.norm() / gradient.norm() * gradient
        u = 0.9 * u + layer.bias.grad
        w, b = w - 0.5 * v, b - 0.5 * u
        optimiser.step()
        torch.testing.assert_close(layer.weight.detach(), w)
        torch.testing.assert_close(layer.bias.detach(), b)


def test_lars_moves_weights_of_length_zero_too() -> None:
    weight = nn.Parameter(torch.zeros(2, 2))
    optimiser = crl.LARS(1.0)([{"params": [weight]}])
    weight.grad = torch.ones(2, 2)
    optimiser.step()
    assert torch.equal(weight.detach(), -torch.ones(2, 2))


@pytest.mark.parametrize("optimiser", DENSE, ids=lambda part: type(part).__name__)
def test_every_optimiser_trains_a_pipeline(optimiser: Any) -> None:
    torch.manual_seed(0)
    training = Training(epochs=10, batch_size=16, optimiser=optimiser, log_every=1)
    fitted = crl.fit(simclr(), Points(), training, accelerator="cpu", devices=1, show=False)
    losses = [line["loss"] for line in fitted.metrics if "loss" in line]
    assert sum(losses[-3:]) < sum(losses[:3]) - 0.1


@pytest.mark.parametrize(
    "optimiser", [crl.SparseAdam(0.1), crl.SGD(0.1), crl.Adagrad(0.1)], ids=lambda p: type(p).__name__
)
def test_a_sparse_table_beside_a_dense_layer(optimiser: Any) -> None:
    torch.manual_seed(0)
    module, data = Table(), torch.tensor([0, 3, 3])
    training = Training(optimiser=crl.AdamW(1e-2), groups=[Group("table", optimiser=optimiser)])
    dense, sparse = optimisers = make_optimisers(module, training)
    assert [group["param_names"] for group in dense.param_groups] == [["layer.weight"], ["layer.bias"]]
    assert [group["param_names"] for group in sparse.param_groups] == [["table.weight"]]
    before = module.table.weight.detach().clone()
    first = stepped(module, optimisers, data, 1)
    assert stepped(module, optimisers, data, 20) < first
    moved = (module.table.weight.detach() != before).any(1)
    assert moved.nonzero().flatten().tolist() == [0, 3]


@pytest.mark.parametrize(
    "optimiser",
    [
        crl.AdamW(0.1, 0.5), crl.Adam(0.1, 0.5), crl.SGD(0.1, weight_decay=0.5), crl.LARS(0.1, weight_decay=0.5),
        crl.Adagrad(0.1, 0.5),
    ],
    ids=lambda part: type(part).__name__,
)  # fmt: skip
def test_weight_decay_is_for_matrices_alone(optimiser: Any) -> None:
    pipeline = simclr().build(points())
    (made,) = make_optimisers(pipeline, Training(optimiser=optimiser))
    before = {name: parameter.detach().clone() for name, parameter in pipeline.named_parameters()}
    for parameter in pipeline.parameters():
        parameter.grad = torch.zeros_like(parameter)
    made.step()
    for name, parameter in pipeline.named_parameters():
        assert torch.equal(parameter, before[name]) == (parameter.dim() <= 1), name


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: crl.AdamW(0.0), lambda: crl.AdamW(float("nan")), lambda: crl.AdamW(1e-3, -1.0),
        lambda: crl.Adam(beta1=1.0), lambda: crl.SGD(0.1, momentum=1.0), lambda: crl.SGD(0.1, nesterov=True),
        lambda: crl.LARS(trust=0.0), lambda: crl.SparseAdam(-1.0), lambda: crl.Adagrad(epsilon=0.0),
        lambda: crl.CosineDecay(warmup=-1.0), lambda: crl.CosineDecay(final=2.0), lambda: crl.TriStage(0.6, 0.6),
        lambda: crl.TriStage(final=0.0), lambda: crl.StepDecay([0.8, 0.6]), lambda: crl.StepDecay([1.2]),
        lambda: crl.Noam(float("inf")), lambda: crl.Momentum(Scheduled(0.9, 2.0)),
        lambda: crl.Cosine(Scheduled(0.5, 0.0)), lambda: crl.Cosine(Scheduled(0.5, 0.1), learned=True),
    ],
)  # fmt: skip
def test_options_out_of_their_range_are_refused(wrong: Any) -> None:
    with pytest.raises(ValueError):
        wrong()


@pytest.mark.parametrize(
    "part", [*DENSE, crl.SparseAdam(), *SCHEDULES, Scheduled(0.1, 0.2)], ids=lambda p: type(p).__name__
)
def test_options_are_read_off_the_part(part: Any) -> None:
    assert all(hasattr(part, name) for name in signature(type(part)))


# -- schedules ---------------------------------------------------------------------------------------------------


def test_a_rise_and_half_a_cosine() -> None:
    rise, fall = [1 / 3, 2 / 3, 1.0], [(1 + math.cos(math.pi * i / 9)) / 2 for i in range(9)]
    assert factors(crl.CosineDecay(warmup=1.0), 12, 4) == pytest.approx(rise + fall, rel=1e-12)
    assert crl.CosineDecay(warmup=1.0)(Progress(12, 12, 4, 4)) == pytest.approx(0, abs=1e-15)
    assert crl.CosineDecay(final=0.1)(Progress(12, 12, 4, 4)) == pytest.approx(0.1)
    assert factors(crl.CosineDecay(), 12)[0] == 1.0


@pytest.mark.parametrize(
    "schedule", [*SCHEDULES, crl.CosineDecay(5.0), crl.LinearDecay(9.0), crl.Noam(7.0), crl.Constant(8.0)]
)
def test_every_schedule_reaches_the_full_rate_and_never_more(schedule: Any) -> None:
    found = factors(schedule, 100, 5)
    assert max(found) == pytest.approx(1.0)
    assert min(found) >= 0
    assert 0 < schedule(Progress(7, 0, 0, 0)) <= 1, "nobody knows how long it is"


def test_a_warm_up_as_long_as_the_run_is_a_tenth_of_it() -> None:
    assert factors(crl.Constant(warmup=5.0), 40, 5) == pytest.approx([0.25, 0.5, 0.75] + [1.0] * 37)
    assert factors(crl.Constant(warmup=4.0), 5, 5) == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])


def test_the_other_schedules_known_values() -> None:
    assert factors(crl.LinearDecay(), 4) == pytest.approx([1, 0.75, 0.5, 0.25])
    assert factors(crl.LinearDecay(warmup=1.0, final=0.5), 4, 2) == pytest.approx([0.5, 1, 1, 0.75])
    # Vaswani et al. 2017, equation 3, over its highest value.
    law = [min(s**-0.5, s * 4**-1.5) / 4**-0.5 for s in range(1, 17)]
    assert factors(crl.Noam(warmup=1.0), 16, 4) == pytest.approx(law)
    steps = factors(crl.StepDecay([0.5, 0.75], factor=0.2, warmup=1.0), 8, 4)
    assert steps == pytest.approx([0.5, 1, 1, 1, 0.2, 0.2, 0.04, 0.04])
    stages = factors(crl.TriStage(0.2, 0.3, start=0.1, final=0.01), 10)
    assert stages == pytest.approx([0.1, 0.55, 1, 1, 1, 1, *(0.01 ** (i / 5) for i in range(1, 5))])


# -- groups ------------------------------------------------------------------------------------------------------


def rates(optimisers: list[torch.optim.Optimizer], progress: Progress) -> dict[str, float]:
    set_rates(optimisers, progress)
    groups = [group for optimiser in optimisers for group in optimiser.param_groups]
    return {name: group["lr"] for group in groups for name in group["param_names"]}


def test_a_predictor_at_a_constant_rate_and_a_head_at_ten_times() -> None:
    pipeline = byol().build(points())
    training = Training(
        optimiser=crl.SGD(0.1),
        schedule=crl.CosineDecay(),
        groups=[Group("branches.online.head", schedule=crl.Constant()), Group("branches.projection.head", rate=10.0)],
    )
    optimisers = make_optimisers(pipeline, training)
    assert len(optimisers) == 1
    for name, rate in rates(optimisers, Progress(5, 10, 0, 1)).items():
        expected = 0.1 if name.startswith("branches.online.head.") else 0.05
        assert rate == pytest.approx(expected * 10 if name.startswith("branches.projection.head.") else expected), name


def test_the_longest_place_wins_and_a_decay_is_the_groups_own() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)))
    groups = [Group("1", rate=2.0, weight_decay=0.5), Group("1.1", rate=3.0), Group("1.1.bias", rate=4.0)]
    optimisers = make_optimisers(
        module, Training(optimiser=crl.AdamW(1.0, 0.1), schedule=crl.Constant(), groups=groups)
    )
    assert rates(optimisers, Progress(0, 1, 0, 1)) == {
        "0.weight": 1.0, "0.bias": 1.0, "1.0.weight": 2.0, "1.0.bias": 2.0, "1.1.weight": 3.0, "1.1.bias": 4.0,
    }  # fmt: skip
    decays = {name: group["weight_decay"] for group in optimisers[0].param_groups for name in group["param_names"]}
    assert decays == {"0.weight": 0.1, "0.bias": 0, "1.0.weight": 0.5, "1.0.bias": 0, "1.1.weight": 0.1, "1.1.bias": 0}


def test_a_shared_module_is_found_under_each_of_its_names() -> None:
    layer = nn.Linear(2, 2)
    module = nn.ModuleDict({"one": layer, "two": layer, "other": nn.Linear(2, 2)})
    optimisers = make_optimisers(module, Training(schedule=crl.Constant(), groups=[Group("two", rate=2.0)]))
    found = rates(optimisers, Progress(0, 1, 0, 1))
    assert found["one.weight"] == 2 * found["other.weight"]
    with pytest.raises(CrlError, match=r"\bone\.weight\b.*\bgroups 'two'.*'one'"):
        make_optimisers(module, Training(groups=[Group("two", rate=2.0), Group("one", rate=3.0)]))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, r"\btable\.weight\b.*\bAdamW\b.*\bcrl\.Group\('table\.weight'"),
        ({"optimiser": crl.SparseAdam()}, r"\bSparseAdam\b.*\blayer\.weight\b"),
        ({"optimiser": crl.SGD(0.1, momentum=0.9)}, r"\btable\.weight\b.*\bmomentum\b"),
        ({"optimiser": crl.Adagrad(0.1, weight_decay=0.1)}, r"\btable\.weight\b.*\bweight_decay\b"),
        ({"groups": [Group("table", optimiser=crl.SparseAdam(), weight_decay=0.1)]}, r"'table'.*\bdecay\b"),
        ({"groups": [Group("tabel", optimiser=crl.SparseAdam())]}, "'tabel'.*'table'"),
        ({"optimiser": crl.SGD(0.1), "clip": 1.0}, r"\bclip\b.*\bnorm\b.*\btable\.weight\b"),
        ({"groups": [Group("table", optimiser=crl.SparseAdam())], "precision": "16-mixed"}, "loss scale"),
        ({"groups": [Group("table"), Group("table")]}, r"\bgroups 'table'.*'table'"),
    ],
)  # fmt: skip
def test_what_can_t_go_together_is_refused_before_the_first_step(options: dict[str, Any], said: str) -> None:
    with pytest.raises(CrlError, match=said):
        make_optimisers(Table(), Training(**options))


# -- state by name -----------------------------------------------------------------------------------------------


class Ordered(nn.Module):
    """Two layers, in either order."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        for name in names:
            setattr(self, name, nn.Linear(3, 3))
        self.names = sorted(names)

    def forward(self, data: Tensor) -> Tensor:
        for name in self.names:
            data = getattr(self, name)(data)
        return data


@pytest.mark.parametrize("optimiser", DENSE, ids=lambda part: type(part).__name__)
def test_the_state_survives_another_order_of_modules(optimiser: Any, tmp_path: Any) -> None:
    training, data = Training(optimiser=optimiser, groups=[Group("b", rate=2.0)]), torch.randn(5, 3)
    one, other = Ordered("a", "b"), Ordered("b", "a")
    first = make_optimisers(one, training)
    stepped(one, first, data)
    checkpoint.save(optimiser_state(first), tmp_path / "state.safetensors")
    other.load_state_dict(one.state_dict())
    second = make_optimisers(other, training)
    load_optimiser_state(second, checkpoint.load(tmp_path / "state.safetensors"))
    stepped(one, first, data)
    stepped(other, second, data)
    for name, parameter in one.named_parameters():
        assert torch.equal(parameter, other.get_parameter(name)), name


def test_the_state_of_two_optimisers(tmp_path: Any) -> None:
    training = Training(groups=[Group("table", optimiser=crl.SparseAdam(0.1))])
    data, modules = torch.tensor([1, 2]), [Table(), Table()]
    first, second = (make_optimisers(module, training) for module in modules)
    stepped(modules[0], first, data)
    modules[1].load_state_dict(modules[0].state_dict())
    checkpoint.save(optimiser_state(first), tmp_path / "state.safetensors")
    load_optimiser_state(second, checkpoint.load(tmp_path / "state.safetensors"))
    for module, optimisers in zip(modules, (first, second), strict=True):
        stepped(module, optimisers, data)
    assert all(torch.equal(x, y) for x, y in zip(*(m.state_dict().values() for m in modules), strict=True))


@pytest.mark.parametrize("old", [torch.optim.AdamW, torch.optim.SGD])
def test_the_state_of_0_1_0_is_read(old: Any, tmp_path: Any) -> None:
    options = {"momentum": 0.9} if old is torch.optim.SGD else {}
    optimiser = crl.SGD(1e-2, 0.9) if old is torch.optim.SGD else crl.AdamW(1e-2, 0.0)
    data, modules = torch.randn(5, 3), [Ordered("a", "b"), Ordered("a", "b")]
    parameters = list(modules[0].parameters())
    matrices, vectors = [p for p in parameters if p.dim() > 1], [p for p in parameters if p.dim() <= 1]
    before = old([{"params": matrices}, {"params": vectors}], lr=1e-2, weight_decay=0.0, **options)
    for group in before.param_groups:
        group.update(base=1e-2, schedule=crl.Constant())
    stepped(modules[0], [before], data)
    checkpoint.save(
        {key: [{k: v for k, v in g.items() if k != "schedule"} for g in value] if key == "param_groups" else value
         for key, value in before.state_dict().items()},
        tmp_path / "old.safetensors",
    )  # fmt: skip
    modules[1].load_state_dict(modules[0].state_dict())
    now = make_optimisers(modules[1], Training(optimiser=optimiser, schedule=crl.Constant()))
    state = checkpoint.load(tmp_path / "old.safetensors")
    load_optimiser_state(now, state)
    stepped(modules[0], [before], data)
    stepped(modules[1], now, data)
    assert all(torch.equal(x, y) for x, y in zip(*(m.state_dict().values() for m in modules), strict=True))
    with pytest.raises(CrlError, match=r"\b0\.1\.0\b.*\b4 parameters"):
        load_optimiser_state(make_optimisers(Table(sparse=False), Training()), state)


def test_a_state_of_other_parameters_is_refused() -> None:
    optimisers = make_optimisers(Ordered("a", "b"), Training())
    with pytest.raises(CrlError, match=r"\ba\.wieght\b.*'a\.weight'"):
        load_optimiser_state(optimisers, {"state": {"a.wieght": {}}})
    with pytest.raises(CrlError, match=r"\bexp_avg\b.*\ba\.weight\b.*\[2\]"):
        load_optimiser_state(optimisers, {"state": {"a.weight": {"exp_avg": torch.ones(2)}}})


# -- in a spec ---------------------------------------------------------------------------------------------------


def test_a_training_is_read_back_as_it_was_written() -> None:
    training = Training(
        optimiser=crl.SGD(0.1, momentum=0.9),
        schedule=crl.TriStage(),
        groups=[
            Group("a", rate=2.0),
            Group("b", schedule=crl.Constant(), optimiser=crl.SparseAdam(), weight_decay=0.0),
        ],
    )
    data = crl.plain(options_of(training, "training", {}))
    assert data["optimiser"] == {
        "use": "core/sgd", "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.0, "nesterov": False,
    }  # fmt: skip
    assert holder_from(Training, tomllib.loads(crl.to_toml(data)), "training") == training


def test_a_scheduled_option_is_read_back_as_it_was_written() -> None:
    for kind, part, option in [
        ("score", crl.Cosine(Scheduled(0.5, 0.1)), "temperature"),
        ("update", crl.Momentum(Scheduled(0.5, 0.1, crl.LinearDecay(final=0.5))), "momentum"),
        ("loss", crl.Triplet(Scheduled(0.5, 0.1)), "margin"),
    ]:
        data = crl.plain(part_of(kind, part, kind))
        found = getattr(part_from(kind, tomllib.loads(crl.to_toml(data)), kind), option)
        assert isinstance(found, Scheduled)
        assert (found.start, found.final, found.shape) == (0.5, 0.1, getattr(part, option).shape)


# -- schedules for any option ------------------------------------------------------------------------------------


def test_a_scheduled_number_computes_like_a_number() -> None:
    number, x = Scheduled(2.0, 6.0, crl.LinearDecay()), torch.tensor([1.0, 3.0])
    number.on_step(Progress(1, 4, 0, 1))
    assert float(number) == 3.0
    for found, expected in [
        (number + x, 3 + x), (x + number, x + 3), (number - x, 3 - x), (x - number, x - 3), (number * x, 3 * x),
        (x * number, x * 3), (number / x, 3 / x), (x / number, x / 3), (number**x, 3**x), (x**number, x**3),
        (-number, torch.tensor(-3.0)), (number + number, torch.tensor(6.0)),
        (torch.exp(number), torch.tensor(math.e**3)),
        (number > x, x < 3), (number >= x, x <= 3), (number < x, x > 3), (x <= number, x <= 3), (x > number, x > 3),
        (x.clamp(min=number), x.clamp(min=3)), (number**2, torch.tensor(9.0)), (2**number, torch.tensor(8.0)),
        (torch.where(x > 2, number, x), torch.tensor([1.0, 3.0])), (1 / number, torch.tensor(1 / 3)),
    ]:  # fmt: skip
        torch.testing.assert_close(found, expected)
    assert math.sqrt(number) == math.sqrt(3)
    assert number.at(Progress(4, 4, 1, 1)) == 6.0
    assert len({number, number}) == 1


def test_a_temperature_a_momentum_and_a_margin_on_a_schedule() -> None:
    pipeline = byol().build(points())
    score, loss = crl.Cosine(Scheduled(0.5, 0.1)), crl.Triplet(margin=Scheduled(0.2, 1.0))
    pipeline.contrasts[0].score = score
    other = Pipeline(Noisy(), encoder=Perceptron(), score=score, loss=loss)
    other.train()
    for step, fraction in ((0, 1.0), (5, 0.5), (10, 0.0)):
        if step:
            other.on_step(Progress(step, 10, 0, 1))
        assert float(score.temperature) == pytest.approx(0.1 + 0.4 * fraction)
        assert float(score.divisor.scale()) == pytest.approx(1 / (0.1 + 0.4 * fraction))
        assert float(loss.margin) == pytest.approx(1.0 - 0.8 * fraction)
        assert crl.Momentum(Scheduled(0.996, 1.0)).at(Progress(step, 10, 0, 1)) == pytest.approx(1 - 0.004 * fraction)
    assert sorted(name for name in other.state_dict() if name.endswith("now")) == [
        "contrasts.0.loss.margin.now", "contrasts.0.score.temperature.now",
    ]  # fmt: skip
    fixed = Pipeline(
        Noisy(), encoder=other.branches["query"].encoder, score=crl.Cosine(0.1), loss=crl.Triplet(margin=1.0)
    )
    torch.manual_seed(0)
    found = other.loss(points()).total
    found.backward()
    torch.manual_seed(0)
    torch.testing.assert_close(found, fixed.loss(points()).total)


@pytest.mark.parametrize(
    ("kernel", "loss", "score"),
    [
        ("dense", crl.Triplet, crl.Cosine), ("strips", crl.Triplet, crl.Cosine), ("dense", crl.Pair, crl.L2),
        ("strips", crl.Pair, crl.L2), ("blockwise", lambda margin: crl.InfoNCE(), crl.Cosine),
    ],
)  # fmt: skip
def test_every_kernel_takes_scheduled_options(kernel: str, loss: Any, score: Any) -> None:
    batch = points(40)
    values = []
    for margin, temperature in ((0.3, 0.2), (Scheduled(0.3, 0.9), Scheduled(0.2, 0.9))):
        torch.manual_seed(3)
        pipeline = Pipeline(Noisy(), encoder=Perceptron(norm=False), score=score(temperature), loss=loss(margin=margin))
        pipeline.contrasts[0].kernel = kernel
        total = pipeline.loss(batch).total
        total.backward()
        values.append([total.detach(), *(p.grad for p in pipeline.parameters())])
    for one, other in zip(*values, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.slow
def test_a_compiled_score_sees_the_schedule() -> None:
    score, x = crl.Cosine(Scheduled(0.5, 0.1)), torch.randn(4, 3)
    compiled = torch.compile(score, fullgraph=True, backend="aot_eager")
    for step in (1, 5, 10):
        score.temperature.on_step(Progress(step, 10, 0, 1))
        torch.testing.assert_close(compiled(x, x.clone()), score(x, x.clone()))
