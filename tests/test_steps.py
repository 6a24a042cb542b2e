"""What a step is: what losses leave waiting, what `on_step` settles, and what is dropped.

Two processes run this file as a script, one call for everything.
"""

from __future__ import annotations

import copy
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from small import Noisy, Perceptron, Points, moco, points, simclr
from torch import Tensor, nn

import crl_core as crl
from crl_core import Branch, Contrast, CrlError, Embeddings, InfoNCE, Pipeline, Progress, Training, View, same

MICRO = 3
ROWS = 4  # of a process, in a micro-batch


def held(pipeline: Pipeline) -> Embeddings | None:
    found: Embeddings | None = pipeline.contrasts[0].memories[0].keys()
    return found


def state(pipeline: Pipeline) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in pipeline.state_dict().items()}


def unchanged(pipeline: Pipeline, before: dict[str, Tensor]) -> None:
    after = pipeline.state_dict()
    assert set(after) == set(before)
    assert [name for name in before if not torch.equal(after[name], before[name])] == []


def queued() -> Pipeline:
    """Without batch normalisation, whose running statistics move with every loss, as in torch."""
    return moco(norm=False)


def banked() -> Pipeline:
    return moco(norm=False).replace("contrasts.0.keys.0", crl.Bank(48))


def both() -> Pipeline:
    """A queue, a bank and a head that have state of their own."""
    return Pipeline(
        Noisy(),
        branches={
            "query": Branch("a", encoder=Perceptron(norm=False)),
            "key": Branch("b", tracks="query", update=crl.Momentum(0.5)),
            "neighbour": Branch(tap="key", head=crl.NearestNeighbour(16)),
        },
        contrasts=[
            Contrast("query", "key", loss=InfoNCE(), score=crl.Cosine(0.2), keys=[crl.Queue(20), crl.Bank(48)]),
            Contrast("query", "neighbour", loss=InfoNCE(), score=crl.Cosine(0.2)),
        ],
    )


# -- what waits, and what settles it --------------------------------------------------------------------------------


def test_four_micro_batches_before_one_step() -> None:
    """The queue holds all rows, the step is counted once, momentum moves once, the column `batch` is one number."""
    pipeline = moco(norm=False, size=30).build(points()).train()
    query, key = pipeline.branches["query"].encoder, pipeline.branches["key"].copies["encoder"]
    assert query is not None
    start = [weight.detach().clone() for weight in key.parameters()]
    with torch.no_grad():
        for weight in query.parameters():
            weight.add_(1.0)
    rows = []
    for i in range(4):
        batch = points(6)
        batch.meta = {"instance": torch.arange(6) + 6 * i}  # type: ignore[misc]
        losses = pipeline.loss(batch)
        losses.total.backward()
        assert losses.embeddings["key"].meta["batch"].tolist() == [1] * 6
        rows.append(losses.embeddings["key"])
        assert held(pipeline) is None, "nothing before the step"
        assert pipeline.steps == 0
    pipeline.on_step(Progress(1, 10, 0, 1))
    assert pipeline.steps == 1
    found = held(pipeline)
    assert found is not None
    assert found.meta["instance"].tolist() == list(range(24))
    assert found.meta["batch"].tolist() == [1] * 24
    torch.testing.assert_close(found.z, nn.functional.normalize(torch.cat([each.z for each in rows]), dim=1))
    for now, before, followed in zip(key.parameters(), start, query.parameters(), strict=True):
        torch.testing.assert_close(now, 0.9 * before + 0.1 * followed)
    assert pipeline.loss(points()).embeddings["query"].meta["batch"].tolist() == [2] * 12


def test_the_gradient_of_micro_batches_is_that_of_their_mean() -> None:
    pipeline = moco(norm=False).double().build(View(torch.randn(8, 5).double(), {"instance": torch.arange(8)})).train()
    pipeline.sampler.noise = 0.0
    parts = [View(torch.randn(8, 5).double(), {"instance": torch.arange(8) + 8 * i}) for i in range(3)]
    weights = [weight for weight in pipeline.parameters() if weight.requires_grad]
    for part in parts:
        (pipeline.loss(part).total / 3).backward()
    found = [weight.grad.clone() for weight in weights if weight.grad is not None]
    pipeline.abandon()
    mean = torch.stack([pipeline.loss(part).total for part in parts]).mean()
    torch.testing.assert_close(found, list(torch.autograd.grad(mean, weights)))


@pytest.mark.parametrize("make", [queued, banked, both])
def test_what_is_abandoned_leaves_nothing(make: Callable[[], Pipeline]) -> None:
    pipeline = make().build(points()).train()
    pipeline.loss(points())
    pipeline.on_step()
    before = state(pipeline)
    for _ in range(3):
        pipeline.loss(points())
    pipeline.abandon()
    unchanged(pipeline, before)
    other = copy.deepcopy(pipeline)
    torch.manual_seed(5)
    pipeline.loss(points())
    torch.manual_seed(5)
    other.loss(points())
    pipeline.on_step()
    other.on_step()
    unchanged(pipeline, state(other))
    assert pipeline.steps == 2


@pytest.mark.parametrize("make", [queued, banked, both])
def test_a_refused_batch_leaves_memories_and_number_as_they_were(make: Callable[[], Pipeline]) -> None:
    pipeline = make().build(points()).train()
    pipeline.loss(points())
    pipeline.on_step()
    before = state(pipeline)
    broken = points()
    broken.data[3] = float("nan")
    with pytest.raises(CrlError, match="not finite"):
        pipeline.loss(broken)
    unchanged(pipeline, before)
    pipeline.on_step()  # of a loop that goes on: nothing of the broken batch comes in
    for name, value in pipeline.state_dict().items():
        if ".keys." in name:
            assert torch.equal(value, before[name]), name
    assert all(bool(value.isfinite().all()) for value in pipeline.state_dict().values() if value.is_floating_point())


def test_a_refused_micro_batch_drops_those_before_it() -> None:
    pipeline = moco(norm=False).build(points()).train()
    pipeline.loss(points())
    broken = points()
    broken.data[3] = float("nan")
    with pytest.raises(CrlError):
        pipeline.loss(broken)
    pipeline.on_step()
    assert held(pipeline) is None


@pytest.mark.parametrize("make", [queued, banked, both])
def test_reading_the_state_between_loss_and_step_changes_nothing(make: Callable[[], Pipeline]) -> None:
    pipeline = make().build(points()).train()
    quiet = copy.deepcopy(pipeline)
    for step in range(3):
        for each in (pipeline, quiet):
            torch.manual_seed(step)
            each.loss(points())
        first = state(pipeline)
        unchanged(pipeline, first)
        for each in (pipeline, quiet):
            each.on_step()
    unchanged(pipeline, state(quiet))


@pytest.mark.parametrize("make", [queued, banked, both])
def test_loading_a_state_drops_what_waits(make: Callable[[], Pipeline]) -> None:
    pipeline = make().build(points()).train()
    pipeline.loss(points())
    pipeline.on_step()
    saved = state(pipeline)
    fresh = copy.deepcopy(pipeline)
    pipeline.loss(points())
    pipeline.load_state_dict(saved)
    unchanged(pipeline, saved)
    for each in (pipeline, fresh):
        each.on_step()
    unchanged(pipeline, state(fresh))


def test_evaluation_leaves_nothing_waiting() -> None:
    pipeline = moco(norm=False).build(points()).eval()
    pipeline.loss(points())
    pipeline.train().on_step()
    assert held(pipeline) is None


def test_a_trained_run_in_micro_batches_counts_its_steps() -> None:
    pipeline = moco(size=200)
    training = Training(epochs=2, batch_size=16, accumulate=4, log_every=1)
    found = crl.fit(pipeline, Points(48), training, accelerator="cpu", show=False)
    assert pipeline.steps == 6
    assert [line["step"] for line in found.metrics if "loss" in line] == [1, 2, 3, 4, 5, 6]
    keys = held(pipeline)
    assert keys is not None
    assert keys.meta["batch"].tolist() == [step for step in range(1, 7) for _ in range(16)]


# -- stages -----------------------------------------------------------------------------------------------------


def two_terms() -> Pipeline:
    return Pipeline(
        Noisy(),
        branches={
            "first": Branch(("a", "b"), encoder=Perceptron(), head=crl.Linear(4)),
            "second": Branch(tap="first.representation", head=crl.MLP(5)),
        },
        contrasts=[
            Contrast(name, name, loss=InfoNCE(), score=crl.Cosine(0.2), positive=same("instance") & ~same("row"))
            for name in ("first", "second")
        ],
    )


def test_only_some_terms_run() -> None:
    pipeline = two_terms().build(points())
    assert list(pipeline.loss(points()).terms) == ["first", "second"]
    pipeline.only(["second"])
    losses = pipeline.loss(points())
    assert list(losses.terms) == ["second"]
    torch.testing.assert_close(losses.total.detach(), losses.terms["second"])
    pipeline.only(None)
    assert list(pipeline.loss(points()).terms) == ["first", "second"]
    with pytest.raises(CrlError, match=r"\bterm 'secund'.*'second'"):
        pipeline.only(["secund"])


def test_a_memory_of_a_term_that_does_not_run_stands_still() -> None:
    pipeline = Pipeline(
        Noisy(),
        branches={"a": Branch("a", encoder=Perceptron()), "b": Branch("b", tracks="a")},
        contrasts=[
            Contrast("a", "b", loss=InfoNCE(), keys=crl.Queue(20), name="queued"),
            Contrast("b", "a", loss=InfoNCE(), name="plain"),
        ],
    ).build(points())
    pipeline.only(["plain"])
    pipeline.loss(points())
    pipeline.on_step()
    assert held(pipeline) is None


def test_what_is_frozen_stays_and_trains_again_afterwards() -> None:
    pipeline = two_terms().build(points()).train()
    frozen = pipeline.branches["first"].encoder
    assert frozen is not None
    before = {name: value.clone() for name, value in frozen.state_dict().items()}
    pipeline.freeze(["branches.first.encoder"])
    assert not frozen.training
    pipeline.eval().train()
    assert not frozen.training, "however often the mode is set"
    weights = [weight for weight in pipeline.parameters() if weight.requires_grad]
    assert not {id(weight) for weight in frozen.parameters()} & {id(weight) for weight in weights}
    optimiser = torch.optim.SGD(weights, 0.1)
    pipeline.loss(points()).total.backward()
    optimiser.step()
    assert all(torch.equal(before[name], value) for name, value in frozen.state_dict().items()), "statistics too"
    pipeline.freeze([])
    assert frozen.training
    assert all(weight.requires_grad for weight in frozen.parameters())
    with pytest.raises(CrlError, match=r"'branches\.first\.encodr'"):
        pipeline.freeze(["branches.first.encodr"])


def test_what_an_update_has_frozen_is_not_thawed_by_a_stage() -> None:
    pipeline = Pipeline(
        Noisy(),
        branches={
            "teacher": Branch("a", encoder=Perceptron(), head=crl.Linear(4), update=crl.Frozen()),
            "student": Branch("b", encoder=Perceptron(), head=crl.Linear(4)),
        },
        contrasts=[Contrast("student", "teacher", loss=InfoNCE(), score=crl.Cosine())],
    ).build(points())
    for places in (["branches.teacher"], []):
        pipeline.freeze(places)
    teacher = pipeline.branches["teacher"]
    assert teacher.encoder is not None
    assert not any(weight.requires_grad for weight in teacher.encoder.parameters())
    assert all(weight.requires_grad for weight in teacher.head.parameters())  # type: ignore[union-attr]


def test_two_stages_of_a_run_train_what_they_say() -> None:
    pipeline = two_terms()
    options = {"epochs": 1, "batch_size": 16, "log_every": 1}
    stages = [
        Training(**options, terms=["first"]),  # type: ignore[arg-type]
        Training(**options, terms=["second"], freeze=["branches.first"]),  # type: ignore[arg-type]
    ]
    found = crl.fit(pipeline, Points(48), stages, accelerator="cpu", show=False)
    lines = [line for line in found.metrics if "loss" in line]
    assert [line["stage"] for line in lines] == [0, 0, 0, 1, 1, 1]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert all(("loss/first" in line) == (line["stage"] == 0) for line in lines)
    assert all(("loss/second" in line) == (line["stage"] == 1) for line in lines)
    assert pipeline.steps == 6


def test_a_scheduled_weight_of_a_contrast() -> None:
    """It weighs by what it is now, and moves with the steps."""
    pipeline = Pipeline(
        Noisy(),
        branches={"a": Branch("a", encoder=Perceptron()), "b": Branch("b", tracks="a")},
        contrasts=[
            Contrast("a", "b", loss=InfoNCE(), name="one", weight=crl.Scheduled(2.0, 0.0, crl.LinearDecay())),  # type: ignore[arg-type]
            Contrast("b", "a", loss=InfoNCE(), name="other", weight=0.5),
        ],
    ).build(points())
    for step, weight in ((0, 2.0), (5, 1.0), (10, 0.0)):
        if step:
            pipeline.on_step(Progress(step, 10, 0, 1))
        losses = pipeline.loss(points())
        expected = weight * losses.terms["one"] + 0.5 * losses.terms["other"]
        torch.testing.assert_close(losses.total.detach(), expected)
    again = crl.assemble(crl.plain(registered(pipeline)))
    assert isinstance(again.contrasts[0].weight, crl.Scheduled)
    again.load_state_dict(pipeline.build(points()).state_dict())
    assert float(again.contrasts[0].weight.now) == 0.0


def registered(pipeline: Pipeline) -> crl.PipelineSpec:
    return crl.describe(pipeline)


# -- two processes -------------------------------------------------------------------------------------------------


class AsDrawn:
    """Views that are part of the data."""

    views = ("a", "b")

    def __call__(self, batch: View) -> dict[str, View]:
        return {"a": View(batch.data[:, 0], batch.meta), "b": View(batch.data[:, 1], batch.meta)}

    def clean(self, batch: View) -> View:
        return View(batch.data[:, 0], batch.meta)


def symmetric() -> Pipeline:
    return Pipeline(
        AsDrawn(),
        branches={"a": Branch("a", encoder=Perceptron(norm=False)), "b": Branch("b", encoder=Perceptron(norm=False))},
        contrasts=[Contrast("a", "b", loss=InfoNCE(), score=crl.Cosine(0.3), keys=crl.Queue(60), symmetric=True)],
    )


METHODS: dict[str, Callable[[], Pipeline]] = {
    "queue": lambda: moco(norm=False, size=60).replace("sampler", AsDrawn()),
    "bank": lambda: moco(norm=False).replace("sampler", AsDrawn()).replace("contrasts.0.keys.0", crl.Bank(96)),
    "symmetric": symmetric,
}


def micro_batch(step: int, micro: int, world: int) -> View:
    """Of all processes, in the order of their ranks."""
    generator = torch.Generator().manual_seed(100 * step + micro)
    data = torch.randn(2 * ROWS, 2, 5, generator=generator, dtype=torch.float64)
    return View(data, {"instance": torch.arange(2 * ROWS) + 2 * ROWS * (MICRO * step + micro)})


def steps(name: str, rank: int, world: int) -> dict[str, Tensor]:
    """Two steps of three micro-batches each: values, gradients and what the memories hold in the end.

    One process takes each micro-batch of both at once.
    """
    torch.manual_seed(3)
    share = slice(rank * 2 * ROWS // world, (rank + 1) * 2 * ROWS // world)
    pipeline = METHODS[name]().double().build(micro_batch(0, 0, world)).train()
    found: dict[str, Tensor] = {}
    for step in range(2):
        values = []
        for micro in range(MICRO):
            losses = pipeline.loss(micro_batch(step, micro, world).take(share))
            (losses.total / MICRO).backward()
            value = losses.total.detach()
            if world > 1:
                dist.all_reduce(value)
                value /= world
            values.append(value)
        found[f"{name}/{step}/loss"] = torch.stack(values).mean()
        for key, weight in pipeline.named_parameters():
            if weight.grad is None:
                continue
            if world > 1:  # what DistributedDataParallel does
                dist.all_reduce(weight.grad)
                weight.grad /= world
            found[f"{name}/{step}/{key}"] = weight.grad.clone()
            with torch.no_grad():
                weight.sub_(weight.grad, alpha=0.1)
            weight.grad = None
        pipeline.on_step()
    contrast = pipeline.contrasts[0]
    for side, memories in (("keys", contrast.keys), ("back", contrast.back or ())):
        for i, memory in enumerate(memories):
            rows = memory.keys()
            columns = {key: column for key, column in rows.meta.items() if key != "row"}
            found |= {f"{name}/{side}/{i}": rows.z, **{f"{name}/{side}/{i}/{k}": c for k, c in columns.items()}}
    found[f"{name}/steps"] = torch.tensor(pipeline.steps)
    return {key: value.contiguous() for key, value in found.items()}


def work(out: Path) -> None:
    dist.init_process_group("gloo")
    found: dict[str, Tensor] = {}
    for name in METHODS:
        found |= steps(name, dist.get_rank(), dist.get_world_size())
    save_file(found, out / f"rank{dist.get_rank()}.safetensors")
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Tensor]]:
    out = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    here = Path(__file__)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV"))}
    base = {**clean, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(here.parent), "CUDA_VISIBLE_DEVICES": ""}
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    command = [sys.executable, str(here), str(out)]
    running = [
        subprocess.Popen(command, env={**base, **place, "RANK": str(rank)}, stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    for process in running:
        try:
            _, said = process.communicate(timeout=120)
        finally:
            process.kill()
        assert process.returncode == 0, said
    return [load_file(out / f"rank{rank}.safetensors") for rank in range(2)]


@pytest.mark.parametrize("name", METHODS)
def test_two_processes_over_three_micro_batches_are_one(name: str, two: list[dict[str, Tensor]]) -> None:
    """By value, by gradient, by what the queue holds and in which order: micro-batch, then rank."""
    expected = steps(name, 0, 1)
    for found in two:
        own = {key: value for key, value in found.items() if key.startswith(f"{name}/")}
        assert set(own) == set(expected)
        for key, value in expected.items():
            assert torch.allclose(own[key].double(), value.double(), 1e-9, 1e-11), key
    assert int(expected[f"{name}/steps"]) == 2
    assert expected[f"{name}/keys/0/instance"].tolist() == list(range(2 * MICRO * 2 * ROWS)), "in their order"


def test_the_sampler_of_a_pipeline_may_be_exchanged_in_place() -> None:
    pipeline = simclr().build(points())
    pipeline.sampler = AsDrawn()
    assert pipeline.views == ("a", "b")
    assert pipeline.loss(View(torch.randn(6, 2, 5), {"instance": torch.arange(6)})).total.isfinite()


def test_views_that_are_the_same_data_are_read_each_and_a_clean_one_once() -> None:
    """As in SimCSE, where dropout alone tells the two apart."""

    class Twice(Noisy):
        def __call__(self, batch: View) -> dict[str, View]:
            return dict.fromkeys(self.views, batch)

    pipeline = simclr(norm=False).replace("sampler", Twice()).build(points())
    batch = points()
    assert len(pipeline.loss(batch).embeddings["query"]) == 24
    assert len(pipeline.embed(pipeline.clean(batch))["query"]) == 12


if __name__ == "__main__":
    torch.set_num_threads(1)
    work(Path(sys.argv[1]))
