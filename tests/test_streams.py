"""Streams: batches without an end, each with the place after it."""

from __future__ import annotations

import itertools
import json
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from small import Points, simclr
from torch import Tensor

import crl_core as crl
from crl_core import CrlError, Training, View
from crl_core.engine import loading
from crl_core.engine.loading import loaded, steps_in_epoch

TRAINING = Training(epochs=2, steps=5, batch_size=8, log_every=1, save_every=1)


class Endless:
    """Points around three centres without end; every process has every so-manieth."""

    def __init__(self, broken: int = 0) -> None:
        self.broken = broken

    def batches_from(
        self, batch_size: int, place: Mapping[str, Any] | None, seed: int, rank: int, world: int
    ) -> Iterator[tuple[View, Mapping[str, Any]]]:
        for start in itertools.count(place["next"] if place else 0, batch_size):
            index = (torch.arange(start, start + batch_size)) * world + rank
            yield View(self.points(index, seed), {"instance": index, "label": index % 3}), {"next": start + batch_size}

    def points(self, index: Tensor, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed * 1_000 + int(index[0]))
        data = torch.eye(3, 5)[index % 3] * 3 + torch.randn(len(index), 5, generator=generator)
        data[index < self.broken] = torch.nan
        return data


class Springs:
    """A source whose training items are a stream."""

    splits = ("train", "test")

    def __init__(self, broken: int = 0) -> None:
        self.broken = broken

    def items(self, split: str) -> Any:
        return Endless(self.broken) if split == "train" else Points().items("test")


crl.register("source", "small-springs", Springs)


def of(training: Training, begun: int = 0, place: Any = None, rank: int = 0, world: int = 1) -> list[tuple[Any, Any]]:
    found = loaded(Endless(), training, 0, begun, place, rank, world)
    return [(None if view is None else view.meta["instance"].tolist(), place) for view, place in found]


def test_ordinary_items_have_no_place() -> None:
    items = Points(20).items("train")
    training = Training(batch_size=8)
    assert steps_in_epoch(items, training) == 2
    assert [place for _, place in loaded(items, training, 0, 0, None, 0, 1)] == [None, None]
    assert steps_in_epoch(items, attrs.evolve(training, steps=1)) == 1
    assert steps_in_epoch(items, attrs.evolve(training, steps=9)) == 2
    assert len(list(loaded(items, attrs.evolve(training, steps=1), 0, 0, None, 0, 1))) == 1
    assert steps_in_epoch(items, attrs.evolve(training, batch_size=50)) == 1


def test_a_stream_needs_the_length_of_an_epoch() -> None:
    assert steps_in_epoch(Endless(), TRAINING) == 5
    with pytest.raises(CrlError, match="steps"):
        steps_in_epoch(Endless(), attrs.evolve(TRAINING, steps=None))


@pytest.mark.filterwarnings("ignore:This DataLoader")
@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_it_goes_on_exactly_from_every_place(workers: int) -> None:
    training = attrs.evolve(TRAINING, workers=workers)
    every = of(training)
    assert len(every) == 5
    numbers = [number for batch, _ in every for number in batch]
    assert len(set(numbers)) == 40
    for done in range(1, 5):
        place = json.loads(json.dumps(every[done - 1][1]))
        assert of(training, begun=done, place=place) == every[done:]


def test_processes_and_their_workers_see_disjoint_shares() -> None:
    for workers in (0, 2):
        training = attrs.evolve(TRAINING, workers=workers)
        shares = [{n for batch, _ in of(training, rank=rank, world=2) for n in batch} for rank in range(2)]
        assert [len(share) for share in shares] == [20, 20]
        assert not shares[0] & shares[1]


def test_broken_items_of_a_stream_are_left_out() -> None:
    found = list(loaded(Endless(broken=10), TRAINING, 0, 0, None, 0, 1))
    assert found[0][0] is None
    assert found[1][0] is not None
    assert found[1][0].meta["instance"].tolist() == [10, 11, 12, 13, 14, 15]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop", [3, 5, 7])
def test_a_run_on_a_stream_that_was_stopped_ends_bit_for_bit_as_the_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, stop: int
) -> None:
    training = attrs.evolve(TRAINING, workers=workers)

    def run(out: Path, resume: bool = False) -> crl.Fitted:
        torch.manual_seed(0)
        return crl.fit(simclr(), Springs(), training, out=out, resume=resume, accelerator="cpu", devices=1, show=False)

    whole = run(tmp_path / "whole")
    before = crl.Pipeline.on_step

    def interrupt(self: crl.Pipeline, progress: crl.Progress | None = None) -> None:
        before(self, progress)
        if progress is not None and progress.step == stop:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(crl.Pipeline, "on_step", interrupt)
    assert not run(tmp_path / "cut").finished
    monkeypatch.setattr(crl.Pipeline, "on_step", before)
    rest = run(tmp_path / "cut", resume=True)
    assert rest.finished
    for name, value in whole.pipeline.state_dict().items():
        assert torch.equal(value, rest.pipeline.state_dict()[name]), name


def test_the_beginning_of_a_stream_stands_for_its_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "OF_STREAM", 100)
    items = loading.as_items(Endless(broken=10))
    assert len(items) == 90
    view = items.__getitems__([3, 0])
    assert view.meta["instance"].tolist() == [3, 0]
    assert view.meta["label"].tolist() == [13 % 3, 10 % 3]
    table = crl.embed(simclr().build(view), Springs().items("train"), batch_size=20)
    assert table.meta["instance"].tolist() == list(range(100))
    found = crl.evaluate(simclr().build(view), Springs(), evaluators=["core/knn", "core/few-labels"])
    assert set(found.figures["knn"]["test"]) == {"raw", "untrained", "trained"}
    assert any("labels" in name for name in found.figures) or len(found.figures) > 1
