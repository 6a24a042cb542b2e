"""Runs of version 0.1.0, as it left them half-way: they are opened, encode equal bits, and go on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from synthetic import distribution

import crl_core as crl
from crl_core import CrlError
from crl_core.cli import main
from crl_core.engine import folder
from crl_core.spec import spec

OLD = Path(__file__).parent / "promises" / "0.1.0"
RUNS = {"simclr": "crl_vision", "moco": "crl_vision", "trans-e": "crl_graph"}


@pytest.fixture(params=sorted(RUNS))
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    pytest.importorskip(RUNS[request.param])
    found = tmp_path / request.param
    shutil.copytree(OLD / request.param, found)
    return found


def first_items(path: Path) -> crl.View:
    _, source, _ = quietly(path)
    return source.items(source.splits[-1]).__getitems__(list(range(8)))


def quietly(path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return folder.parts_of(folder.open_spec(path))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_it_is_opened_and_encodes_equal_bits(run: Path) -> None:
    pipeline = crl.load(run)
    assert torch.equal(pipeline.encode(first_items(run)), load_file(run / "expected.safetensors")["encoded"])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_it_goes_on_to_the_end(run: Path) -> None:
    before = spec.read(run / "spec.toml")
    assert main(["train", "--resume", str(run), "--accelerator", "cpu", "--devices", "1", "--no-report"]) == 0
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["epoch"] == before["training"]["epochs"]
    # It is taken up in today's words, and opened again.
    assert spec.read(run / "spec.toml")["schema"] == spec.SCHEMA
    found = crl.load(run).encode(first_items(run))
    wanted = load_file(run / "expected.safetensors")
    # On the machine that made the files it is, to the last bit, where 0.1.0 would have come to. Elsewhere rounding
    # differs, and grows step by step: so the same place is asked for (where the run was stopped is .5 to .8 from it).
    assert (cosine(found, wanted["resumed"]) > 0.9).all()
    assert cosine(wanted["encoded"], wanted["resumed"]).mean() < 0.9 or run.name == "trans-e"


def cosine(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Of each row, both without the mean row."""
    return torch.cosine_similarity(one - one.mean(0), other - other.mean(0))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_queue_of_the_old_run_is_there(tmp_path: Path) -> None:
    pytest.importorskip("crl_vision")
    pipeline = crl.load(OLD / "moco")
    held = pipeline.contrasts[0].memories[0].keys()
    assert held is not None
    assert len(held) == 96
    assert {"instance", "batch"} <= set(held.meta)


def test_a_source_inside_of_a_part_is_the_runs_or_an_error(tmp_path: Path) -> None:
    data = spec.read(OLD / "trans-e" / "spec.toml")
    data["source"]["seed"] = 3
    spec.write(data, tmp_path / "spec.toml")
    with pytest.raises(CrlError, match=r"pipeline\.sampler\.source"):
        folder.open_spec(tmp_path)


def test_a_schema_of_the_future_is_named(tmp_path: Path) -> None:
    data = {**spec.read(OLD / "simclr" / "spec.toml"), "schema": 9}
    spec.write(data, tmp_path / "spec.toml")
    with pytest.raises(CrlError, match="schema 9"):
        folder.open_spec(tmp_path)


PLUGIN = """
import torch, crl_core as crl
from crl_core import Contrast, View
parts = {part.address: part.kind for part in crl.known() if part.namespace == "old"}
assert parts == {"old/jittered": "sampler", "old/weighted": "loss", "old/previous": "keys"}, parts
encoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(32, 8))
pipeline = crl.Pipeline(
    "old/jittered",
    branches={"a": crl.Branch("a", encoder=encoder), "b": crl.Branch("b", tracks="a")},
    contrasts=[Contrast("a", "b", score=crl.Cosine(0.2), loss="old/weighted", keys="old/previous")],
)
batch = View(torch.randn(8, 2, 16), {"instance": torch.arange(8)})
for _ in range(2):
    pipeline.loss(batch).total.backward()
    pipeline.on_step()
assert len(pipeline.contrasts[0].memories[0].keys()) == 8
print("as it was")
"""


def test_a_plugin_of_then_works(tmp_path: Path) -> None:
    """Made by `crl new plugin` of 0.1.0: parts of three kinds, one of which is called otherwise today."""
    plugin = OLD / "crl-old"
    project = tomllib.loads((plugin / "pyproject.toml").read_text())["project"]
    shutil.copytree(plugin / "crl_old", tmp_path / "crl_old")
    distribution(tmp_path, project["name"], project["entry-points"], requires=project["dependencies"])
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "CRL_DISABLE": ""}
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PLUGIN],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "as it was", done.stderr


def test_what_went_to_a_final_value_is_on_a_schedule(tmp_path: Path) -> None:
    data = spec.read(OLD / "moco" / "spec.toml")
    data["pipeline"]["branches"]["key"]["update"] = {"use": "core/momentum", "momentum": 0.99, "final": 1.0}
    data["pipeline"]["contrasts"][0]["score"]["final"] = 0.1
    spec.write(data, tmp_path / "spec.toml")
    pipeline = crl.assemble(folder.open_spec(tmp_path)["pipeline"])
    momentum = pipeline.branches["key"].update.momentum  # type: ignore[attr-defined]
    temperature = pipeline.contrasts[0].score.temperature  # type: ignore[attr-defined]
    assert (momentum.start, momentum.final) == (0.99, 1.0)
    assert (temperature.start, temperature.final) == (0.2, 0.1)
