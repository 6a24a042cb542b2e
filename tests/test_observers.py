"""The observers of docs/plugins.md, installed as plugins of their own, listen to a real run."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import small
from synthetic import distribution, forget, fresh_registry

import crl_core as crl

PAGE = Path(__file__).parent.parent / "docs" / "plugins.md"


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Path]:
    with fresh_registry(tmp_path):
        yield tmp_path / "run"


def observed_by(word: str, language: str, run: Path, head: str = "import crl_core as crl\n") -> None:
    """A run of three epochs with the page's block that has this word."""
    pytest.importorskip("lightning_fabric")
    blocks = re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (code,) = [block for block in blocks if word in block]
    distribution(run.parent, "crl-acme", {"crl.hooks": {"acme": "acme_hooks"}}, modules={"acme_hooks": head + code})
    forget()
    # Without a folder: its spec could hold only what others can have too, and the small parts exist only here.
    training = crl.Training(epochs=3, batch_size=16, log_every=1)
    crl.fit(small.simclr(), small.Points(), training, accelerator="cpu")


def test_a_table_of_epochs(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.parent)
    observed_by("epochs.csv", "python", run)
    rows = list(csv.DictReader((run.parent / "epochs.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert all(float(row["loss"]) > 0 and float(row["effective rank"]) >= 1 for row in rows)


@pytest.mark.slow
def test_weights_and_biases_without_a_network(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.chdir(run.parent)
    observed_by("wandb", "py", run, head="")
    assert wandb.run is None, "it was finished after the last epoch"
    (folder,) = (run.parent / "wandb").glob("offline-run-*")
    (record,) = folder.glob("run-*.wandb")
    assert b"loss" in record.read_bytes()
