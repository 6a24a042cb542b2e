"""The folder of a run: spec, versions, metrics, checkpoint."""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..contracts.parts import Source
from ..errors import CrlError, SpecError
from ..method.pipeline import Pipeline
from ..registry import PluginError, known
from ..registry.plugins import LOCAL, absent, advertised_hooks, core_version
from ..spec import assembly, spec, upgrade
from ..spec.comparison import diff
from .training import Training, stages_of

SPEC = "spec.toml"
METRICS = "metrics.jsonl"
CHECKPOINT = "checkpoint.safetensors"
FILES, LIST = "files", "files.json"


def create(folder: Path, pipeline: Pipeline, source: Source, training: Training | Sequence[Training]) -> None:
    """Makes the folder and writes the spec.

    Raises:
        CrlError: the folder already holds a run, or the pipeline can't be written as a spec.
    """
    if (folder / SPEC).exists():
        raise CrlError(f"{folder} already holds a run: resume it, or choose another folder")
    data = spec_of(pipeline, source, training)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_files(folder, pipeline)
        spec.write(data, folder / SPEC)
    except OSError as error:
        raise CrlError(f"can't make the folder {folder} of the run: {error}") from None


def spec_of(pipeline: Pipeline, source: Source, training: Training | Sequence[Training]) -> dict[str, Any]:
    """The spec of a run, as data; with several stages, `training` is a list."""
    stages = [assembly.options_of(stage, "training", {}) for stage in stages_of(training)]
    data = {
        "source": spec.plain(assembly.part_of("source", source, "source")),
        "training": spec.plain(stages[0] if len(stages) == 1 else stages),
        "pipeline": spec.plain(assembly.describe(pipeline)),
    }
    requires = requirements(data)
    made_with = {"python": platform.python_version(), "torch": version("torch")}
    return {"schema": spec.SCHEMA, "requires": requires, "made_with": made_with, **data}


def check_same_run(
    path: Path, pipeline: Pipeline, source: Source, training: Sequence[Training], *, write: bool
) -> None:
    """Checks that the folder holds this run. With `write`, a spec of an earlier version is converted to today's.

    Raises:
        CrlError: it holds another run; the message names the first difference.
    """
    ours = spec_of(pipeline, source, training)
    theirs = open_spec(path / SPEC)
    if spec.read(path / SPEC).get("schema") != spec.SCHEMA:
        theirs = {**theirs, **spec_of(*parts_of(theirs)), "schema": spec.SCHEMA}
        if write:
            spec.write(theirs, path / SPEC)
    for section in ("source", "training", "pipeline"):
        if found := diff({section: theirs[section]}, {section: ours[section]}):
            place, one, other = found[0]
            raise CrlError(f"{path} holds another run: {place} is {one!r} there and {other!r} here")


def open_spec(path: Path) -> dict[str, Any]:
    """The data of a run's spec; `path` is the file, or the run's folder.

    Raises:
        CrlError: there is no spec, it has another schema, or it needs a distribution that is missing.
    """
    data = spec.read(path / SPEC if path.is_dir() else path)
    data = upgrade.spec(data, path)
    unknown = set(data) - {"schema", "requires", "made_with", "source", "training", "pipeline"}
    if unknown:
        raise SpecError(f"{path}: there is no {sorted(unknown)[0]!r} in a run's spec")
    requires: dict[str, str] = spec.convert(data.get("requires", {}), dict[str, str], f"{path}: requires")
    for distribution, release in requires.items():
        if not all(
            re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._+!-]*[A-Za-z0-9])?", text) for text in (distribution, release)
        ):
            raise SpecError(f"{path}: requires: {distribution!r} {release!r} is not a distribution and its version")
        if why := absent(distribution, release):
            raise PluginError(f"{path} was made with {distribution} {release}, which {why}")
    return data


def parts_of(data: dict[str, Any]) -> tuple[Pipeline, Source, Training | list[Training]]:
    """The pipeline, with new weights, the source and the training of a run's spec."""
    trainings = data.get("training", {})
    training = (
        [assembly.holder_from(Training, stage, f"training.{i}") for i, stage in enumerate(trainings)]
        if isinstance(trainings, list)
        else assembly.holder_from(Training, trainings, "training")
    )
    if "pipeline" not in data or "source" not in data:
        raise SpecError("a run's spec has a pipeline and a source")
    source: Source = assembly.part_from("source", spec.convert(data["source"], spec.Part, "source"), "source")
    return assembly.assemble(data["pipeline"]), source, training


def write_files(folder: Path, pipeline: Pipeline) -> None:
    """Writes the files of parts, each under its digest, and a list of them."""
    named: dict[str, dict[str, str]] = {}
    for place, part in pipeline.parts_with("files"):
        for name, content in part.files().items():
            digest = hashlib.sha256(content).hexdigest()
            (folder / FILES).mkdir(parents=True, exist_ok=True)
            (folder / FILES / digest).write_bytes(content)
            named.setdefault(place, {})[name] = digest
    if named:
        (folder / FILES / LIST).write_text(json.dumps(named, indent=1) + "\n", encoding="utf-8")


def load_files(folder: Path, pipeline: Pipeline) -> None:
    """Hands each part its files.

    Raises:
        CrlError: a file is missing or has changed, or the pipeline has no such part.
    """
    path = folder / FILES / LIST
    if not path.exists():
        return
    parts = dict(pipeline.parts_with("load_files"))
    try:
        named: dict[str, dict[str, str]] = spec.convert(
            json.loads(path.read_text(encoding="utf-8")), dict[str, dict[str, str]], str(path)
        )
    except (OSError, ValueError) as error:
        raise CrlError(f"{path} can't be read: {error}") from None
    for place, names in named.items():
        if place not in parts:
            raise CrlError(f"{path}: the pipeline has no part with files at {place!r}")
        parts[place].load_files({name: _content(folder, digest) for name, digest in names.items()})


def _content(folder: Path, digest: str) -> bytes:
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise CrlError(f"{digest!r} is not the digest of a file")
    path = folder / FILES / digest
    if not path.is_file():
        raise CrlError(f"the file {path} of a part is missing")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise CrlError(f"the file {path} has changed: its name is not the digest of its content")
    return content


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """The lines of metrics so far."""
    path = folder / METRICS
    lines = []
    for text in path.read_text().splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(text))
        except ValueError:
            break  # a crash has cut this line
    return lines


def forget_metrics_after(folder: Path, step: int) -> None:
    """Removes the lines of steps that a killed run did after its last checkpoint."""
    kept = [line for line in read_metrics(folder) if line["step"] <= step]
    (folder / METRICS).write_text("".join(json.dumps(line) + "\n" for line in kept))


# -- what a spec needs to be read --------------------------------------------------------------------


def requirements(data: Any) -> dict[str, str]:
    """The distributions, with their versions, of all installed parts that a spec's data names."""
    owners = {part.address: part for part in known() if part.namespace != LOCAL}
    families = {part.namespace: part for part in advertised_hooks()}
    named = (owners.get(use) or families.get(use.partition("/")[0]) for use in _uses(data))
    versions = {part.distribution: part.version for part in named if part is not None}
    return dict(sorted({"crl-core": core_version(), **versions}.items()))


def refuse_local(data: Any) -> None:
    """Raises SpecError if a part is registered only in this process: another process couldn't load the spec."""
    for use in _uses(data):
        if use.startswith(f"{LOCAL}/"):
            raise SpecError(
                f"{use} exists only in this process: put it into a distribution, as an entry point of crl.<kind>"
            )


def _uses(data: Any) -> Iterator[str]:
    if isinstance(data, Mapping):
        if isinstance(data.get("use"), str):
            yield data["use"]
        for value in data.values():
            yield from _uses(value)
    elif isinstance(data, list):
        for value in data:
            yield from _uses(value)
