"""A run's folder: spec, versions, metrics, checkpoint."""

from __future__ import annotations

import json
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .. import assembly, spec
from ..errors import CrlError
from ..pipeline import Pipeline
from ..protocols import Source
from ..registry import PluginError
from ..registry.plugins import absent, core_version
from .training import Training

SPEC = "spec.toml"
METRICS = "metrics.jsonl"
CHECKPOINT = "checkpoint.safetensors"


def create(folder: Path, pipeline: Pipeline, source: Source, training: Training) -> None:
    """Makes the folder and writes the spec.

    Raises:
        CrlError: it holds a run already, or the pipeline can't be written as a spec.
    """
    if (folder / SPEC).exists():
        raise CrlError(f"{folder} holds a run already: go on with it (resume), or choose another folder")
    data = spec_of(pipeline, source, training)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        spec.write(data, folder / SPEC)
    except OSError as error:
        raise CrlError(f"can't make the folder {folder} of the run: {error}") from None


def spec_of(pipeline: Pipeline, source: Source, training: Training) -> dict[str, Any]:
    """The spec of a run, as data."""
    data = {
        "source": spec.plain(assembly.part_of("source", source, "source")),
        "training": spec.plain(training),
        "pipeline": spec.plain(assembly.describe(pipeline)),
    }
    requires = assembly.requirements(data)
    made_with = {"python": platform.python_version(), "torch": version("torch")}
    return {"schema": spec.SCHEMA, "requires": requires, "made_with": made_with, **data}


def open_spec(path: Path) -> dict[str, Any]:
    """The data of a run's spec; `path` is the file, or the run's folder.

    Raises:
        CrlError: there is none, it has another schema, or a distribution that it requires is missing.
    """
    data = spec.read(path / SPEC if path.is_dir() else path)
    if data.get("schema") != spec.SCHEMA:
        raise spec.SpecError(
            f"{path}: schema {data.get('schema')!r}; this crl-core {core_version()} reads {spec.SCHEMA}"
        )
    unknown = set(data) - {"schema", "requires", "made_with", "source", "training", "pipeline"}
    if unknown:
        raise spec.SpecError(f"{path}: there is no {sorted(unknown)[0]!r} in a run's spec")
    requires: dict[str, str] = spec.convert(data.get("requires", {}), dict[str, str], f"{path}: requires")
    for distribution, release in requires.items():
        if not all(
            re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._+!-]*[A-Za-z0-9])?", text) for text in (distribution, release)
        ):
            raise spec.SpecError(f"{path}: requires: {distribution!r} {release!r} is no distribution with its version")
        if why := absent(distribution, release):
            raise PluginError(f"{path} was made with {distribution} {release}, which {why}")
    return data


def parts_of(data: dict[str, Any]) -> tuple[Pipeline, Source, Training]:
    """The pipeline with fresh weights, the source and the training that a run's spec describes."""
    training: Training = spec.convert(data.get("training", {}), Training, "training")
    if "pipeline" not in data or "source" not in data:
        raise spec.SpecError("a run's spec has a pipeline and a source")
    source: Source = assembly.part_from("source", spec.convert(data["source"], spec.Part, "source"), "source")
    return assembly.assemble(data["pipeline"]), source, training


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """The lines of metrics written so far."""
    path = folder / METRICS
    lines = []
    for text in path.read_text().splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(text))
        except ValueError:
            break  # a crash in the middle of a line
    return lines


def forget_metrics_after(folder: Path, step: int) -> None:
    """Takes off the lines of steps that a killed run did after its last checkpoint."""
    kept = [line for line in read_metrics(folder) if line["step"] <= step]
    (folder / METRICS).write_text("".join(json.dumps(line) + "\n" for line in kept))
