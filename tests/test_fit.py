"""Training: that it trains, that it resumes bit for bit, and what it says when it can't."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from small import Noisy, Perceptron, PointItems, Points, byol, moco, simclr
from torch import Tensor, nn

import crl_core as crl
from crl_core import Branch, Contrast, CrlError, Embeddings, Penalty, Pipeline, Progress, Training, View, same
from crl_core.cli import main
from crl_core.engine import checkpoint
from crl_core.engine.optimisers import make_optimisers
from crl_core.errors import SpecError
from crl_core.spec.spec import convert

METHODS: list[Callable[[], Pipeline]] = [simclr, moco, byol]
TRAINING = Training(
    epochs=4,
    batch_size=16,
    optimiser=crl.AdamW(1e-2, weight_decay=1e-2),
    schedule=crl.CosineDecay(warmup=1.0),
    log_every=1,
    save_every=1,
)
STEPS = 12  # three in each epoch


def run(pipeline: Pipeline, training: Training = TRAINING, source: Any = None, **options: Any) -> crl.Fitted:
    return crl.fit(pipeline, source or Points(), training, accelerator="cpu", devices=1, **{"show": False, **options})


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, action: Callable[[], object]) -> None:
    """Does something after that step, as soon as the pipeline has been told of it."""
    before = Pipeline.on_step

    def on_step(self: Pipeline, progress: Progress | None = None) -> None:
        before(self, progress)
        if progress is not None and progress.step == step:
            action()

    monkeypatch.setattr(Pipeline, "on_step", on_step)


def killed() -> None:
    raise RuntimeError("killed")


def ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def leaves(state: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every tensor and number of a nested state, with its place."""
    if isinstance(state, dict):
        for name, inner in state.items():
            yield from leaves(inner, f"{place}/{name}")
    elif isinstance(state, list):
        for i, inner in enumerate(state):
            yield from leaves(inner, f"{place}/{i}")
    else:
        yield place, state


def assert_same(one: Any, other: Any) -> None:
    found, expected = dict(leaves(one)), dict(leaves(other))
    assert list(found) == list(expected)
    for place, value in expected.items():
        equal = torch.equal(found[place], value) if isinstance(value, Tensor) else found[place] == value
        assert equal, place


def without_speed(metrics: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: value for name, value in line.items() if name != "items_per_second"} for line in metrics]


# -- it trains -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", METHODS)
def test_fit_trains(make: Callable[[], Pipeline]) -> None:
    pipeline = make()
    before = [parameter.clone() for parameter in pipeline.parameters()]
    fitted = run(pipeline, attrs.evolve(TRAINING, epochs=12))
    losses = [line["loss"] for line in fitted.metrics if "loss" in line]
    assert len(losses) == 36
    start = sum(losses[1:4]) if make is moco else sum(losses[:3])  # MoCo's first step has no negatives
    assert sum(losses[-3:]) < 0.8 * start
    assert fitted.finished
    assert fitted.pipeline is pipeline
    assert not pipeline.training
    for old, new in zip(before, pipeline.parameters(), strict=False):
        assert not torch.equal(old, new), "every layer of the encoder has moved"


def test_the_same_seed_gives_the_same_run_and_another_seed_another() -> None:
    def weights(seed: int) -> Tensor:
        torch.manual_seed(7)
        pipeline = simclr()
        torch.manual_seed(time.monotonic_ns())
        run(pipeline, attrs.evolve(TRAINING, epochs=1, seed=seed))
        return torch.nn.utils.parameters_to_vector(pipeline.parameters())

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


def test_a_worker_that_loads_items_changes_nothing() -> None:
    found = []
    for workers in (0, 1):
        torch.manual_seed(7)
        pipeline = moco()
        fitted = run(pipeline, attrs.evolve(TRAINING, epochs=2, workers=workers))
        found.append((pipeline.state_dict(), without_speed(fitted.metrics)))
    assert_same(list(found[0]), list(found[1]))


def test_bfloat16_is_for_encoders_and_heads_and_the_loss_stays_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = simclr()
    seen: dict[str, set[torch.dtype]] = {"encoder": set(), "head": set(), "score": set(), "total": set()}
    branch = pipeline.branches["query"]
    assert branch.encoder is not None
    assert branch.head is not None
    branch.encoder.register_forward_hook(lambda module, given, out: seen["encoder"].add(out.dtype))
    branch.head.register_forward_hook(lambda module, given, out: seen["head"].add(out.dtype))
    pipeline.contrasts[0].kernel = "dense"
    pipeline.contrasts[0].score.register_forward_hook(lambda module, given, out: seen["score"].add(out.dtype))  # type: ignore[attr-defined]
    before = Pipeline.loss
    monkeypatch.setattr(
        Pipeline,
        "forward",
        lambda self, batch, chunk: (seen["total"].add((found := before(self, batch, chunk)).total.dtype), found)[1],
    )
    fitted = run(pipeline, attrs.evolve(TRAINING, precision="bf16-mixed"))
    assert seen["encoder"] == {torch.float32, torch.bfloat16}, "float32 when it was built, bfloat16 from then on"
    assert seen["score"] == seen["total"] == {torch.float32}
    assert {parameter.dtype for parameter in pipeline.parameters()} == {torch.float32}
    losses = [line["loss"] for line in fitted.metrics if "loss" in line]
    torch.manual_seed(0)
    exact = [line["loss"] for line in run(simclr()).metrics if "loss" in line]
    assert losses == pytest.approx(exact, rel=0.05), "the way that training in float32 takes"


class Told(nn.Module):
    """A head that is told of steps and epochs."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 6)
        self.steps: list[Progress] = []
        self.epochs: list[Progress] = []
        self.tables: list[Embeddings] = []

    def forward(self, features: Tensor) -> Tensor:
        return self.layer(features)

    def on_step(self, progress: Progress) -> None:
        assert self.training
        self.steps.append(progress)

    def on_epoch(self, progress: Progress, embed: Callable[[str], Embeddings]) -> None:
        self.epochs.append(progress)
        state = torch.get_rng_state()
        self.tables.append(embed("query"))
        assert torch.equal(embed("query").z, self.tables[-1].z), "nothing random"
        assert torch.equal(state, torch.get_rng_state())


def test_parts_are_told_of_every_step_and_before_every_epoch() -> None:
    head = Told()
    pipeline = Pipeline(Noisy(), encoder=Perceptron(), head=head, score=crl.Cosine(), loss=crl.InfoNCE())
    run(pipeline)
    assert [progress.step for progress in head.steps] == list(range(1, STEPS + 1))
    assert [progress.epoch for progress in head.steps] == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert [(p.step, p.steps, p.epoch, p.epochs) for p in head.epochs] == [(3 * i, 12, i, 4) for i in range(4)]
    for table in head.tables:
        assert not table.z.requires_grad
        assert table.meta["instance"].tolist() == list(range(48)), "every item once, in order"
    last = head(pipeline.encode(Points().items("train").__getitems__(list(range(48)))))
    assert not torch.allclose(head.tables[0].z, last, atol=1e-3), "each time by the weights as they are then"


def test_a_pipeline_of_penalties_alone_trains() -> None:
    class Spread(nn.Module):
        takes = "embeddings"

        def forward(self, table: Embeddings) -> Tensor:
            return (1 - table.z.std(0)).relu().mean()

    pipeline = Pipeline(
        Noisy(), branches={"query": Branch("a", encoder=Perceptron())}, penalties=[Penalty("query", Spread())]
    )
    batch = Points().items("train").__getitems__(list(range(48)))
    narrow = pipeline.build(batch).encode(batch).std(0).min()
    run(pipeline, attrs.evolve(TRAINING, epochs=20))
    assert pipeline.eval().encode(batch).std(0).min() > max(0.8, 2 * float(narrow)), "every number varies, as asked"


# -- resuming --------------------------------------------------------------------------------------------------


def whole(make: Callable[[], Pipeline], training: Training, path: Path) -> crl.Fitted:
    torch.manual_seed(7)
    return run(make(), training, out=path)


def cut(
    make: Callable[[], Pipeline], training: Training, path: Path, step: int, how: Callable[[], object]
) -> crl.Fitted:
    """The same run, stopped at a step and then resumed with other weights, in another state of chance."""
    torch.manual_seed(7)
    with pytest.MonkeyPatch.context() as patch:
        at_step(patch, step, how)
        if how is killed:
            with pytest.raises(RuntimeError, match="killed"):
                run(make(), training, out=path)
        else:
            assert run(make(), training, out=path).finished == (step == STEPS)
    if step == STEPS:
        return run(make(), training, out=path, resume=True)
    torch.manual_seed(99)
    return run(make(), training, out=path, resume=True)


CUTS = [
    pytest.param(5, killed, id="killed in the middle of an epoch"),
    pytest.param(4, ctrl_c, id="interrupted after the first step of an epoch"),
    pytest.param(5, ctrl_c, id="interrupted in the middle of an epoch"),
    pytest.param(6, ctrl_c, id="interrupted at the end of an epoch"),
    pytest.param(12, ctrl_c, id="interrupted at the very end"),
]


@pytest.mark.parametrize("make", METHODS)
@pytest.mark.parametrize(("step", "how"), CUTS)
def test_a_run_that_was_stopped_and_resumed_is_bit_for_bit_the_run_that_was_not(
    make: Callable[[], Pipeline], step: int, how: Callable[[], object], tmp_path: Path
) -> None:
    expected = whole(make, TRAINING, tmp_path / "whole")
    found = cut(make, TRAINING, tmp_path / "cut", step, how)
    assert found.finished
    one, other = (checkpoint.load(tmp_path / name / "checkpoint.safetensors") for name in ("cut", "whole"))
    assert one["progress"] == [STEPS, STEPS, 4, 4]
    assert_same(one, other)  # weights, queue, optimiser, generators, position
    assert_same(found.pipeline.state_dict(), expected.pipeline.state_dict())
    assert without_speed(found.metrics) == without_speed(expected.metrics)
    if make is moco:
        queue = found.pipeline.contrasts[0].memories[0].keys()
        assert queue is not None
        assert len(queue) == 20


@pytest.mark.parametrize("optimiser", [crl.SGD(1e-2, momentum=0.9), crl.LARS(1e-2)], ids=["sgd", "lars"])
def test_the_state_of_every_optimiser_is_kept(optimiser: Any, tmp_path: Path) -> None:
    training = attrs.evolve(TRAINING, optimiser=optimiser, clip=1.0)
    whole(simclr, training, tmp_path / "whole")
    cut(simclr, training, tmp_path / "cut", 5, ctrl_c)
    one, other = (checkpoint.load(tmp_path / name / "checkpoint.safetensors") for name in ("cut", "whole"))
    assert any("momentum" in place for place, _ in leaves(other["optimiser"]["state"]))
    assert_same(one, other)


def test_drawn_negatives_survive_an_interruption(tmp_path: Path) -> None:
    def drawn() -> Pipeline:
        return Pipeline(
            Noisy(),
            branches={"query": Branch("a", encoder=Perceptron()), "key": Branch("b", tracks="query")},
            contrasts=[Contrast("query", "key", score=crl.Cosine(), loss=crl.InfoNCE(), keys=crl.Drawn(3))],
        )

    whole(drawn, TRAINING, tmp_path / "whole")
    cut(drawn, TRAINING, tmp_path / "cut", 6, ctrl_c)
    one, other = (checkpoint.load(tmp_path / name / "checkpoint.safetensors") for name in ("cut", "whole"))
    assert_same(one, other)


def test_on_epoch_is_not_called_again_for_an_epoch_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[int] = []
    before = Pipeline.on_epoch
    monkeypatch.setattr(
        Pipeline,
        "on_epoch",
        lambda self, progress, embed: (called.append(progress.epoch), before(self, progress, embed))[1],
    )
    cut(simclr, TRAINING, tmp_path / "cut", 5, ctrl_c)
    assert called == [0, 1, 2, 3]


def test_metrics_are_lines_of_json_and_a_killed_run_leaves_no_line_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run"
    with monkeypatch.context() as patch:
        at_step(patch, 5, killed)
        with pytest.raises(RuntimeError, match="killed"):
            run(simclr(), out=path)
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    assert max(line["step"] for line in lines) == 4, "it had come further than its checkpoint"
    with (path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "epo')  # what a crash in the middle of a line leaves
    run(simclr(), out=path, resume=True)
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    losses = [line for line in lines if "loss" in line]
    assert [line["step"] for line in losses] == list(range(1, STEPS + 1))
    assert [line["step"] for line in lines if "spread" in line] == [3, 6, 9, 12]
    assert {"step", "epoch", "loss", "loss/query", "learning_rate", "items_per_second"} == set(losses[0])
    assert all(isinstance(value, int | float) for line in lines for value in line.values())


def test_tensorboard_has_every_logged_number(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    fitted = run(simclr(), out=tmp_path / "run")
    board = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    told = [(event.step, event.value) for event in board.Scalars("loss")]
    assert told == [(line["step"], pytest.approx(line["loss"])) for line in fitted.metrics if "loss" in line]
    assert len(board.Scalars("spread")) == 4


def test_a_crash_while_a_checkpoint_is_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run"
    written = checkpoint.save_file
    count = 0

    def broken(tensors: dict[str, Tensor], file: Path, metadata: dict[str, str]) -> None:
        nonlocal count
        count += 1
        if count == 2:
            Path(file).write_bytes(b"half of a checkpoint")
            raise OSError("no space left on device")
        written(tensors, file, metadata)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", broken)
        torch.manual_seed(7)
        with pytest.raises(OSError, match="no space left"):
            run(simclr(), out=path)
    assert checkpoint.load(path / "checkpoint.safetensors")["progress"] == [3, 12, 1, 4]
    run(simclr(), out=path, resume=True)
    whole(simclr, TRAINING, tmp_path / "whole")
    assert_same(*(checkpoint.load(p / "checkpoint.safetensors") for p in (path, tmp_path / "whole")))
    assert not list(path.glob("*.partial"))


def test_checkpoints_are_renamed_into_their_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str]] = []
    before = Path.replace
    monkeypatch.setattr(
        Path, "replace", lambda self, to: (seen.append((self.name, Path(to).name)), before(self, to))[1]
    )
    run(simclr(), attrs.evolve(TRAINING, epochs=2), out=tmp_path / "run")
    assert seen == [("checkpoint.safetensors.partial", "checkpoint.safetensors")] * 2


def test_save_every_says_how_often_and_the_last_epoch_is_always_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[int] = []
    before = checkpoint.save
    monkeypatch.setattr(
        checkpoint, "save", lambda state, path: (saved.append(state["progress"][2]), before(state, path))[1]
    )
    run(simclr(), attrs.evolve(TRAINING, epochs=5, save_every=2), out=tmp_path / "run")
    assert saved == [2, 4, 5]


def test_a_checkpoint_holds_any_nested_state(tmp_path: Path) -> None:
    shared = torch.randn(3, 4)
    state = {
        "a": {0: {"step": torch.tensor(3.0), "empty": torch.zeros(0)}, 1: None},
        "shared": [shared, shared, shared.T],
        "numbers": [1, 2.5, True, "text", math.inf],
        "bytes": torch.arange(5, dtype=torch.uint8),
        "half": torch.randn(3).bfloat16(),
    }
    checkpoint.save(state, tmp_path / "x.safetensors")
    assert_same(checkpoint.load(tmp_path / "x.safetensors"), state)
    with pytest.raises(CrlError, match=r"/a: .*\bobject\b"):
        checkpoint.save({"a": object()}, tmp_path / "x.safetensors")
    assert_same(checkpoint.load(tmp_path / "x.safetensors"), state)


def test_a_broken_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run"
    run(simclr(), attrs.evolve(TRAINING, epochs=1), out=path)
    file = path / "checkpoint.safetensors"
    whole_file = file.read_bytes()
    for content in (whole_file[: len(whole_file) // 2], b"", b"nonsense" * 100):
        file.write_bytes(content)
        with pytest.raises(CrlError, match=r"\bcheckpoint\.safetensors\b.*\bbroken\b"):
            run(simclr(), attrs.evolve(TRAINING, epochs=1), out=path, resume=True)


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run"
    run(simclr(), attrs.evolve(TRAINING, epochs=1), out=path)
    state = checkpoint.load(path / "checkpoint.safetensors")
    for wrong, said in (
        ({"weights": torch.ones(3)}, "holds no pipeline"),
        ({**state, "version": 99}, "version 99; this version of crl-core reads 1 and 2"),
        ({**state, "pipeline": {"x": torch.ones(1)}}, "doesn't fit this run"),
        ({name: value for name, value in state.items() if name != "optimiser"}, "doesn't fit this run: 'optimiser'"),
    ):
        checkpoint.save(wrong, path / "checkpoint.safetensors")
        with pytest.raises(CrlError, match=rf"checkpoint\.safetensors:? {said}"):
            run(simclr(), attrs.evolve(TRAINING, epochs=1), out=path, resume=True)


def test_a_run_can_only_go_on_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "run"
    run(simclr(), attrs.evolve(TRAINING, epochs=1), out=path)
    faster = attrs.evolve(TRAINING, epochs=1, optimiser=crl.AdamW(0.5, weight_decay=1e-2))
    with pytest.raises(CrlError, match=r"another run: training\.optimiser\.learning_rate is 0\.01 there and 0\.5 here"):
        run(simclr(), faster, out=path, resume=True)
    other = simclr()
    other.contrasts[0].score = crl.Cosine(0.7)
    with pytest.raises(CrlError, match=r"pipeline\.contrasts\.0\.score\.temperature is 0\.2 there and 0\.7 here"):
        run(other, attrs.evolve(TRAINING, epochs=1), out=path, resume=True)
    with pytest.raises(CrlError, match=r"source\.count is 48 there and 32 here"):
        run(simclr(), attrs.evolve(TRAINING, epochs=1), Points(32), out=path, resume=True)


def test_a_folder_that_holds_a_run_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "run"
    run(simclr(), attrs.evolve(TRAINING, epochs=1), out=path)
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    with pytest.raises(CrlError, match=r"\brun\b.*\bresume\b.*\bfolder\b"):
        run(simclr(), out=path)
    assert before == {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_resuming_needs_something_to_resume(tmp_path: Path) -> None:
    with pytest.raises(CrlError, match="resume needs `out`"):
        run(simclr(), resume=True)
    with pytest.raises(CrlError, match=r"\bspec\b.*\bnothing.spec\.toml\b"):
        run(simclr(), out=tmp_path / "nothing", resume=True)
    path = tmp_path / "run"
    run(simclr(), attrs.evolve(TRAINING, epochs=1), out=path)
    (path / "checkpoint.safetensors").unlink()
    with pytest.raises(CrlError, match=r"\bcheckpoint\.safetensors\b"):
        run(simclr(), attrs.evolve(TRAINING, epochs=1), out=path, resume=True)


def test_a_folder_that_can_t_be_made_is_an_error_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CrlError, match=r"\bfolder\b"):
        run(simclr(), out=tmp_path / "file")


def test_parts_without_an_address_train_but_leave_no_run(tmp_path: Path) -> None:
    pipeline = Pipeline(Noisy(), encoder=nn.Linear(5, 4), score=crl.Cosine(), loss=crl.InfoNCE())
    with pytest.raises(CrlError, match=r"\bbranches\.query\.encoder\b.*\bLinear\b.*\bencoder\b"):
        run(pipeline, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert run(pipeline, attrs.evolve(TRAINING, epochs=1)).finished


def test_an_interrupted_run_without_a_folder_says_that_nothing_was_saved(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    at_step(monkeypatch, 5, ctrl_c)
    fitted = run(simclr(), show=True)
    assert not fitted.finished
    assert "Interrupted at step 5 of 12. Nothing was saved: there is no `out`." in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, "the signal is Python's own again"


def test_the_second_ctrl_c_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Pipeline.loss
    steps = 0

    def loss(self: Pipeline, batch: View, chunk: int | None = None) -> Any:
        nonlocal steps
        steps += 1
        if steps == 2:
            ctrl_c()
            ctrl_c()
            time.sleep(1)
        return before(self, batch, chunk)

    monkeypatch.setattr(Pipeline, "forward", loss)
    with pytest.raises(KeyboardInterrupt):
        run(simclr())
    assert steps == 2


@pytest.mark.slow
def test_ctrl_c_on_the_command_line_saves_and_the_run_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("crl_vision")
    path = tmp_path / ("a-folder-whose-name-is-so-long-that-a-terminal-would-break-it-in-two" * 2)
    call = ["train", "simclr", "--no-report", "--set", "epochs=10", "--set", "save_every=1000"]
    call += ["--set", "pipeline.branches.query.encoder.width=4", "--accelerator", "cpu", "--out"]
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; from crl_core.cli import main; sys.exit(main())", *call, str(path)],
        stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
    )  # fmt: skip
    metrics = path / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (metrics.exists() and metrics.stat().st_size):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130, said
    assert "Traceback" not in said
    step = re.search(
        r"Interrupted at step (\d+) of 110\. Saved\. To go on: crl train --resume (.*)$", said, re.MULTILINE
    )
    assert step is not None, said
    assert step[2] == str(path)
    assert checkpoint.load(path / "checkpoint.safetensors")["progress"][0] == int(step[1])

    assert main(["train", "--resume", str(path), "--no-report", "--accelerator", "cpu"]) == 0
    assert main([*call, str(tmp_path / "whole")]) == 0
    assert_same(*(checkpoint.load(p / "checkpoint.safetensors") for p in (path, tmp_path / "whole")))


# -- data that are not as they should be -------------------------------------------------------------------------


def test_items_with_nan_are_left_out_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    pipeline = simclr()
    with caplog.at_level(logging.WARNING, logger="crl"):
        fitted = run(pipeline, attrs.evolve(TRAINING, epochs=2), Points(48, broken=3))
    told = [re.match(r"(\d+) items\b.*\bNaN\b.*\binstances \[(.*)\]", r.message) for r in caplog.records]
    batches = [match for match in told if match]
    # Each is met once in an epoch, and perhaps in the batch on which the pipeline was built.
    assert 6 <= sum(int(match[1]) for match in batches) <= 9
    assert {int(i) for match in batches for i in match[2].split(",")} == {0, 1, 2}
    assert all(parameter.isfinite().all() for parameter in pipeline.parameters())
    assert all(buffer.isfinite().all() for buffer in pipeline.buffers()), "running statistics too"
    assert all(math.isfinite(line["loss"]) for line in fitted.metrics if "loss" in line)


class Rotten(Points):
    """Items that are NaN from the second epoch on."""

    def __init__(self, good: int) -> None:
        super().__init__()
        self.good = good

    def items(self, split: str) -> PointItems:
        found = super().items(split)
        fetched = 0
        before = found.__getitems__

        class Rots(PointItems):
            def __init__(self) -> None:
                pass

            def __len__(self) -> int:
                return len(found)

            def __getitems__(self, indices: list[int]) -> View:
                nonlocal fetched
                fetched += 1
                batch = before(indices)
                return batch if fetched <= good else View(batch.data * float("nan"), batch.meta)

        good = self.good
        return Rots()


def test_an_epoch_without_any_usable_item_is_an_error() -> None:
    with pytest.raises(CrlError, match=r"\bitem\b.*\bepoch\b.*\blog\b"):
        run(simclr(), source=Rotten(good=4))  # one to build on, and the first epoch's three
    with pytest.raises(CrlError, match=r"\bsource\b.*\bitems\b.*\blog\b"):
        run(simclr(), source=Points(48, broken=48))


def test_batches_that_can_t_be_used_count_as_steps_but_train_nothing() -> None:
    fitted = run(simclr(), attrs.evolve(TRAINING, epochs=1), source=Rotten(good=3))
    assert fitted.finished
    assert [line["step"] for line in fitted.metrics if "loss" in line] == [1, 2], "nothing is logged for the third"


def test_an_epoch_whose_rest_can_t_be_used_still_goes_on_after_an_interruption(tmp_path: Path) -> None:
    crl.register("source", "rotten", Rotten)
    training = attrs.evolve(TRAINING, epochs=1)
    with pytest.MonkeyPatch.context() as patch:
        at_step(patch, 2, ctrl_c)
        assert not run(simclr(), training, Rotten(good=3), out=tmp_path / "run").finished
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Rotten, "items", lambda self, split: Rotten.__base__.items(Rotten(0), split))
        items = PointItems(48, 0, 0, True)
        asked = 0

        def fetch(self: PointItems, indices: list[int]) -> View:
            nonlocal asked
            asked += 1  # the first is the batch on which the pipeline is built
            batch = View(items.data[indices], {"instance": torch.tensor(indices)})
            return batch if asked == 1 else View(batch.data * float("nan"), batch.meta)

        patch.setattr(PointItems, "__getitems__", fetch)
        assert run(simclr(), training, Rotten(good=3), out=tmp_path / "run", resume=True).finished


def test_no_item_one_item_and_batches_of_one_are_told_in_words() -> None:
    with pytest.raises(CrlError, match=r"\bsource\b.*\bitems\b"):
        run(simclr(), source=Points(0))
    with pytest.raises(CrlError, match=r"\b2 queries\b.*\bnegative\b.*\bbatch\b"):
        run(simclr(), source=Points(1))
    with pytest.raises(CrlError, match=r"\b2 queries\b.*\bnegative\b.*\bbatch\b"):
        run(simclr(), attrs.evolve(TRAINING, batch_size=1))
    with pytest.raises(CrlError, match=r"\bbatch\b.*\bone usable item\b.*\b1 value\b"):
        run(moco(), attrs.evolve(TRAINING, batch_size=1))


def test_a_queue_makes_batches_of_one_possible_where_nothing_normalises() -> None:
    fitted = run(moco(norm=False), attrs.evolve(TRAINING, epochs=1, batch_size=1))
    assert fitted.finished
    assert all(math.isfinite(value) for line in fitted.metrics for value in line.values())


def test_items_fewer_than_a_batch_are_one_batch_and_a_rest_waits() -> None:
    def steps(count: int, size: int) -> int:
        fitted = run(simclr(), attrs.evolve(TRAINING, epochs=2, batch_size=size), Points(count))
        return sum("loss" in line for line in fitted.metrics)

    assert steps(10, 64) == 2
    assert steps(10, 4) == 4, "two full batches in each epoch"


def test_a_loss_that_is_not_finite_ends_the_run_in_words() -> None:
    with pytest.raises(CrlError, match=r"\bloss\b.*\bfinite\b.*\blearning rate\b"):
        run(byol(norm=False), attrs.evolve(TRAINING, optimiser=crl.SGD(1e30, momentum=0.9)))


# -- the optimiser -----------------------------------------------------------------------------------------------


def test_the_learning_rate_rises_straight_and_falls_along_a_cosine() -> None:
    fitted = run(simclr())
    found = [line["learning_rate"] for line in fitted.metrics if "loss" in line]
    rise = [1e-2 / 3, 2e-2 / 3, 1e-2]
    fall = [1e-2 * (1 + math.cos(math.pi * i / 9)) / 2 for i in range(9)]
    assert found == pytest.approx(rise + fall, rel=1e-12)


def test_the_optimiser_holds_what_trains_and_nothing_else() -> None:
    batch = Points().items("train").__getitems__(list(range(8)))
    for make in (moco, byol):
        pipeline = make().build(batch)
        held = {id(p) for group in make_optimisers(pipeline, TRAINING)[0].param_groups for p in group["params"]}
        copies = {id(p) for branch in pipeline.branches.values() for p in branch.copies.parameters()}
        assert copies
        assert not held & copies
        assert held == {id(p) for p in pipeline.parameters()} - copies
    frozen = Pipeline(
        Noisy(),
        branches={
            "student": Branch("a", encoder=Perceptron(), head=crl.Linear(4)),
            "teacher": Branch("b", encoder=Perceptron(), head=crl.Linear(4), update=crl.Frozen()),
        },
        contrasts=[Contrast("student", "teacher", loss=crl.InfoNCE(), score=crl.Cosine())],
    ).build(batch)
    held = {id(p) for group in make_optimisers(frozen, TRAINING)[0].param_groups for p in group["params"]}
    teacher = frozen.branches["teacher"]
    assert teacher.encoder is not None
    assert teacher.head is not None
    assert not held & {id(p) for p in teacher.encoder.parameters()}
    assert held >= {id(p) for p in teacher.head.parameters()}


def test_gradients_are_clipped() -> None:
    def moved(clip: float | None) -> float:
        torch.manual_seed(7)
        pipeline = simclr(norm=False)
        items = Points().items("train")
        pipeline.build(items.__getitems__(list(range(16))))
        before = torch.nn.utils.parameters_to_vector(pipeline.parameters()).detach().clone()
        plain = crl.SGD(1.0, momentum=0.9, weight_decay=1e-4)
        run(pipeline, Training(epochs=1, batch_size=48, optimiser=plain, schedule=crl.Constant(), clip=clip))
        return float((torch.nn.utils.parameters_to_vector(pipeline.parameters()).detach() - before).norm())

    assert moved(None) > 0.01
    assert moved(1e-3) == pytest.approx(1e-3, rel=0.05)  # the weight decay is about as much again, of ten thousand


def test_nothing_to_train_is_told() -> None:
    pipeline = simclr()
    pipeline.branches["query"].head = None
    pipeline.requires_grad_(False)
    with pytest.raises(CrlError, match=r"\bweights\b.*\btrain\b"):
        run(pipeline)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"epochs": 0}, "epochs"),
        ({"epochs": -1}, "epochs"),
        ({"epochs": 1.5}, "epochs"),
        ({"epochs": "lots"}, "epochs"),
        ({"batch_size": 0}, "batch_size"),
        ({"accumulate": 0}, "accumulate"),
        ({"steps": 0}, "steps"),
        ({"clip": 0.0}, "clip"),
        ({"clip": -1.0}, "clip"),
        ({"precision": "bf16"}, "precision"),
        ({"seed": -1}, "seed"),
        ({"workers": -1}, "workers"),
        ({"log_every": 0}, "log_every"),
        ({"save_every": 0}, "save_every"),
    ],
)
def test_a_training_that_makes_no_sense_is_refused_in_python_and_in_a_spec(options: dict[str, Any], said: str) -> None:
    with pytest.raises((ValueError, TypeError), match=said):
        Training(**options)
    with pytest.raises(SpecError, match=f"training.*{said}"):
        convert(options, Training, "training")


def test_a_device_that_isn_t_there_is_told() -> None:
    with pytest.raises(CrlError, match="nonsense"):
        crl.fit(simclr(), Points(), TRAINING, accelerator="nonsense", show=False)


# -- collapse ----------------------------------------------------------------------------------------------------


def collapsing() -> Pipeline:
    """Two views drawn together by shared weights, and nothing that holds them apart."""
    return Pipeline(
        Noisy(),
        branches={"query": Branch("a", encoder=Perceptron(norm=False)), "key": Branch("b", tracks="query")},
        contrasts=[Contrast("query", "key", loss=crl.Regression())],
    )


def test_a_run_that_collapses_is_told_so_once_and_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    fitted = run(collapsing(), attrs.evolve(TRAINING, epochs=20, optimiser=crl.AdamW(3e-2, 1e-2)), show=True)
    said = capsys.readouterr().err
    assert said.count("warning: ") == 1
    assert re.search(r"\bepoch \d+, query-key: warning: .*\bcollapsed\b", said)
    spread = [line["spread"] for line in fitted.metrics if "spread" in line]
    assert spread[-1] < 0.1 < spread[0]


@pytest.mark.parametrize("make", METHODS)
def test_a_healthy_run_is_not_warned(make: Callable[[], Pipeline], capsys: pytest.CaptureFixture[str]) -> None:
    fitted = run(make(), attrs.evolve(TRAINING, epochs=20), show=True)
    assert "warning" not in capsys.readouterr().err
    figures = [line for line in fitted.metrics if "spread" in line]
    assert len(figures) == 20
    assert figures[-1]["spread"] > 0.3
    assert {"spread", "effective rank", "uniformity", "alignment"} <= set(figures[-1])
    nats = [value for line in figures for name, value in line.items() if name.endswith("-nats")]
    if make is not byol:  # whose loss knows of no information
        assert len(nats) == 20
        assert nats[0] < nats[-1]


def test_show_false_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    run(collapsing(), attrs.evolve(TRAINING, epochs=20, optimiser=crl.AdamW(3e-2, weight_decay=1e-2)))
    assert capsys.readouterr() == ("", "")


def test_positives_by_another_relation_are_watched_too() -> None:
    pipeline = simclr()
    pipeline.contrasts[0].positive = same("label") & ~same("row")
    pipeline.contrasts[0].negative = ~same("label")
    assert "alignment" in run(pipeline, attrs.evolve(TRAINING, epochs=1)).metrics[-1]
