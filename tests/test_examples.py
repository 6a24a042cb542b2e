"""Every registered part and every public class of a pipeline has an example that runs as it is pasted."""

from __future__ import annotations

import doctest
import inspect
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

import crl_core as crl

OURS = {"crl-core", "crl-vision", "crl-graph", "crl-language", "crl-timm"}
PARTS = [part for part in crl.known() if part.distribution in OURS and part.kind != "recipe"]
FAMILIES = ["timm/test_resnet", "vision/squeezenet1_1"]  # one of each, as a plugin opens them by a hook
STRUCTURE = [
    "Branch", "Contrast", "Embeddings", "Group", "InMemory", "Lazy", "Pairs", "Penalty", "Pipeline", "Progress",
    "Scores", "Training", "View", "beyond", "near", "same", "weighted", "within",
]  # fmt: skip
# What others return, hold or raise; nobody puts it into a pipeline.
OTHERS = {
    "Candidates", "Evaluation", "Fitted", "Known", "Loaded", "Losses", "Numbered", "OfKeys", "Outcome", "PipelineSpec",
    "Problem", "Recipe", "Relation", "State", "Stored", "Summed",
}  # fmt: skip


def run_example(name: str, docstring: str | None) -> None:
    parser = doctest.DocTestParser()
    said: list[str] = []
    # As in a fresh session: nothing is imported.
    test = parser.get_doctest(inspect.cleandoc(docstring or ""), {"__name__": "__main__"}, name, None, 0)
    assert test.examples, f"{name} has no example"
    with torch.random.fork_rng(devices=[]):
        result = doctest.DocTestRunner(verbose=False).run(test, out=said.append)
    assert not result.failed, "".join(said)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.mark.parametrize("part", PARTS, ids=lambda part: f"{part.kind}-{part.address}")
def test_a_part_has_an_example_that_runs(part: crl.Known) -> None:
    run_example(part.address, crl.get(part.kind, part.address).__doc__)


@pytest.mark.parametrize("address", FAMILIES)
def test_a_family_has_an_example_that_runs(address: str) -> None:
    pytest.importorskip(f"crl_{address.partition('/')[0]}")
    run_example(address, crl.get("encoder", address).__doc__)


@pytest.mark.parametrize("name", STRUCTURE)
def test_a_public_name_has_an_example_that_runs(name: str) -> None:
    run_example(name, getattr(crl, name).__doc__)


def test_no_public_class_is_forgotten() -> None:
    public = {name: getattr(crl, name) for name in crl.__all__}
    parts = {f"{part.target}" for part in PARTS}
    classes = {name for name, found in public.items() if isinstance(found, type) and not _needs_none(found)}
    registered = {name for name in classes if f"{public[name].__module__}:{name}" in parts}
    assert classes - registered - set(STRUCTURE) == OTHERS


def _needs_none(found: Any) -> bool:
    """Whether it is a contract or an error."""
    return bool(getattr(found, "_is_protocol", False)) or issubclass(found, Exception)
