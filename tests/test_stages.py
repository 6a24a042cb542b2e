"""Stages, several sources and micro-batches: a run that is stopped anywhere goes on to the same bits."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from shapes import (
    SHORT,
    micro_batches_with_queue_and_momentum,
    simcse,
    symmetric_with_a_queue,
    two_sources_in_turn,
    two_stages,
)
from small import Points, moco
from torch import Tensor

import crl_core as crl
from crl_core import CrlError, Pipeline, Progress


def final(pipeline: Pipeline) -> dict[str, Tensor]:
    return {name: x.clone() for name, x in pipeline.state_dict().items() if torch.is_tensor(x)}


def fit(method: Callable[[], Any], **options: Any) -> crl.Fitted:
    torch.manual_seed(3)
    pipeline, source, training = method()
    return crl.fit(pipeline, source, training, accelerator="cpu", devices=1, show=False, **options)


def stopped_at(monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
    """An interruption after so many steps of all stages."""
    before, count = Pipeline.on_step, [0]

    def on_step(self: Pipeline, progress: Progress | None = None) -> None:
        before(self, progress)
        count[0] += 1
        if count[0] == calls:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Pipeline, "on_step", on_step)


METHODS = [
    two_stages,
    two_sources_in_turn,
    symmetric_with_a_queue,
    micro_batches_with_queue_and_momentum,
    simcse,
]


@pytest.mark.parametrize("stop", [2, 3, 10])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
def test_a_run_that_is_stopped_and_resumed_is_the_run(
    method: Callable[[], Any], stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit(method, out=tmp_path / "whole")
    steps = int(max(line["step"] for line in whole.metrics))
    with monkeypatch.context() as patch:
        stopped_at(patch, min(stop, steps - 1))
        assert not fit(method, out=tmp_path / "run").finished
    again = fit(method, out=tmp_path / "run", resume=True)
    assert again.finished
    wanted, found = final(whole.pipeline), final(again.pipeline)
    assert wanted.keys() == found.keys()
    for name, value in wanted.items():
        assert torch.equal(found[name], value), name
    assert [line["step"] for line in again.metrics] == [line["step"] for line in whole.metrics]


def test_steps_are_counted_over_all_stages() -> None:
    fitted = fit(two_stages)
    steps = [line["step"] for line in fitted.metrics if "loss" in line]
    assert steps == list(range(1, len(steps) + 1))
    assert [line["stage"] for line in fitted.metrics if "loss" in line] == [0] * 9 + [1] * 6


def test_a_spec_holds_all_stages(tmp_path: Path) -> None:
    from crl_core.engine import folder

    fit(two_stages, out=tmp_path / "run")
    data = folder.open_spec(tmp_path / "run")
    assert [stage["epochs"] for stage in data["training"]] == [3, 2]
    _, _, training = folder.parts_of(data)
    assert isinstance(training, list)
    assert training[1].freeze == ["branches.left.encoder"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"terms": ["left-rigth"]}, "left-right"),
        ({"freeze": ["branches.lefft.encoder"]}, "branches.left.encoder"),
        ({"accumulate": 3}, "16"),
    ],
)
def test_a_wrong_stage_is_refused(change: dict[str, Any], said: str) -> None:
    pipeline, source, _ = two_stages()
    with pytest.raises(CrlError, match=said):
        crl.fit(pipeline, source, attrs.evolve(SHORT, **change), accelerator="cpu", devices=1, show=False)


def test_stages_have_one_precision() -> None:
    with pytest.raises(CrlError, match="precision"):
        crl.fit(moco(), Points(), [SHORT, attrs.evolve(SHORT, precision="bf16-mixed")])


def test_accumulated_gradients_are_those_of_the_mean() -> None:
    """Without anything that looks across the batch, micro-batches make the very steps of one batch."""
    runs = []
    for accumulate in (1, 2, 4):
        torch.manual_seed(0)
        pipeline = crl.Pipeline(
            Still(),
            branches={
                "query": crl.Branch("a", encoder=torch.nn.Linear(5, 4)),
                "key": crl.Branch("b", tracks="query", update=crl.Momentum(0.5)),
            },
            contrasts=[
                crl.Contrast(
                    "query", "key", score=crl.Cosine(0.3), loss=crl.InfoNCE(), keys=crl.Queue(32),
                    positive=crl.same("instance") & crl.same("batch"),
                    negative=~crl.same("instance") & ~crl.same("batch"),
                )
            ],
        )  # fmt: skip
        training = attrs.evolve(SHORT, accumulate=accumulate, optimiser=crl.SGD(0.1))
        crl.fit(pipeline, Points(), training, accelerator="cpu", devices=1, show=False)
        runs.append(final(pipeline))
    for other in runs[1:]:
        for name, value in runs[0].items():
            if not name.endswith("meta_row"):  # rows are counted in each micro-batch, and mean nothing in a memory
                torch.testing.assert_close(other[name], value, msg=name)


class Still:
    """The item twice, nothing random."""

    views = ("a", "b")

    def __call__(self, batch: crl.View) -> dict[str, crl.View]:
        return dict.fromkeys(self.views, batch)

    def clean(self, batch: crl.View) -> crl.View:
        return batch
