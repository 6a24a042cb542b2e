"""crl train, crl evaluate, crl embed, crl export."""

from __future__ import annotations

import argparse
import json
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from .. import export
from ..contracts.parts import Source
from ..data.view import Embeddings
from ..distributed import rank
from ..engine import folder
from ..engine.training import stages_of
from ..errors import CrlError, did_you_mean
from ..method.pipeline import Pipeline
from ..recipes.prepare import parse_settings
from ..recipes.recipe import Recipe
from ..spec.assembly import part_from
from ..spec.spec import Part
from .explain import from_seed, no_run, preset_line, recipe_of

if TYPE_CHECKING:
    from ..evaluation.evaluate import Evaluation

# The training loop, the evaluators and the report are imported when a command needs them, because the import takes
# longer than the training of a first run.

EVALUATION = "evaluation.json"


def run_train(options: argparse.Namespace) -> int:
    if (options.what is None) == (options.resume is None):
        raise CrlError("crl train takes a recipe or a spec, or --resume RUN")
    if options.resume is not None:
        if options.out is not None:
            raise CrlError("a run is resumed in its own folder: leave out --out")
        _check_run(options.resume)
    _check_report(options)
    started = time.perf_counter()
    what = options.resume or options.what
    recipe = recipe_of(what, options.settings)
    if rank() == 0 and (line := preset_line(what, options.settings)):
        print(line, file=sys.stderr)  # like the progress; the standard output is for results
    path = Path(options.resume) if options.resume else Path(options.out or _next_folder(options.what))
    devices = int(options.devices) if options.devices.isdigit() else options.devices
    from ..engine.fit import fit

    fitted = fit(
        from_seed(recipe), recipe.source, recipe.training, out=path, resume=options.resume is not None,
        accelerator=options.accelerator, devices=devices,
    )  # fmt: skip
    if not fitted.finished:
        return 130
    if rank() == 0 and not options.no_report:
        trained = time.perf_counter()
        untrained = from_seed(recipe)
        evaluation = _evaluate(fitted.pipeline, untrained, recipe, recipe.source)
        (path / EVALUATION).write_text(json.dumps(evaluation.figures, indent=1) + "\n")
        print(evaluation)
        from ..report.page import write_report

        page = write_report(path, fitted.pipeline, untrained, recipe.source, evaluation)
        done = time.perf_counter()
        print(f"trained in {trained - started:.0f} s, evaluated and reported in {done - trained:.0f} s: {page}")
    return 0


def _check_report(options: argparse.Namespace) -> None:
    """Checks before the training that matplotlib is installed, which the report imports only after the training."""
    if not options.no_report and find_spec("matplotlib") is None:
        raise CrlError("the report needs matplotlib: install `crl-core[train]`, or use --no-report")


def _next_folder(what: str) -> str:
    """runs/simclr-1, runs/simclr-2, …"""
    name = Path(what).stem
    number = 1
    while Path(f"runs/{name}-{number}").exists():
        number += 1
    return f"runs/{name}-{number}"


def _evaluate(
    pipeline: Pipeline,
    untrained: Pipeline,
    recipe: Recipe,
    source: Source,
    evaluators: list[str] | None = None,
    branch: str | None = None,
) -> Evaluation:
    from ..evaluation.evaluate import evaluate

    training = stages_of(recipe.training)[0]
    # As many rows as a training step encodes at a time, which fit into memory.
    chunk = training.chunk or max(1, training.batch_size // training.accumulate)
    return evaluate(pipeline, source, evaluators=evaluators, untrained=untrained, branch=branch, chunk=chunk)


def _check_run(path: str) -> None:
    if not (Path(path) / folder.SPEC).exists():
        raise no_run(path)


def _run(path: str) -> tuple[Pipeline, Recipe]:
    """A run's trained pipeline, and the recipe of its spec."""
    _check_run(path)
    return export.load(path), recipe_of(path, [])


def run_evaluate(options: argparse.Namespace) -> None:
    pipeline, recipe = _run(options.run)
    settings, source = parse_settings(options.settings), recipe.source
    if options.source is not None:
        source = part_from("source", Part(options.source, settings), "source")
    elif settings:
        raise CrlError("--set needs another source: name it with --source")
    evaluation = _evaluate(pipeline, from_seed(recipe), recipe, source, options.only, options.branch)
    print(json.dumps(evaluation.figures, indent=1) if options.json else evaluation)
    for note in evaluation.notes if options.json else ():
        print(f"note: {note}", file=sys.stderr)


def run_embed(options: argparse.Namespace) -> None:
    from ..evaluation.embed import check_path, embed, write

    check_path(Path(options.out))  # before the computation
    if options.items:
        _check_run(options.run)
        table = _read(export.load(options.run), options.items, options.branch)
    else:
        if options.data is None:
            raise CrlError("crl embed takes a split or a source, or raw items with --items")
        pipeline, recipe = _run(options.run)
        source, split = _data(options.data, recipe.source, parse_settings(options.settings))
        table = embed(pipeline, source.items(split), options.branch)
    write(table, Path(options.out))
    print(f"{len(table)} representations of {table.z.shape[1]} numbers, with {', '.join(table.meta)}: {options.out}")


def _read(pipeline: Pipeline, items: list[str], branch: str | None, size: int = 256) -> Embeddings:
    """The representations of texts or paths by the pipeline's reader and encoder, without the run's data."""
    from ..evaluation.tables import device_of

    found = []
    for start in range(0, len(items), size):
        batch = pipeline.read(items[start : start + size])
        columns = {**batch.meta, "instance": batch.meta["instance"] + start}
        found.append(Embeddings(pipeline.encode(batch.to(device_of(pipeline)), branch).cpu(), columns))
    return Embeddings.concat(found)


def _data(what: str, own: Source, settings: dict[str, object]) -> tuple[Source, str]:
    """A split of the run's own source; or another source and its split, by default the last."""
    if what in own.splits:
        if settings:
            raise CrlError(f"--set needs another source; {what!r} is a split of the run's own source")
        return own, what
    name, _, split = what.partition(":")
    try:
        source: Source = part_from("source", Part(name, settings), "source")
    except CrlError as error:
        raise CrlError(
            f"{what!r} is no split of the run's source ({', '.join(own.splits)}), and as a source: {error}"
        ) from None
    split = split or source.splits[-1]
    if split not in source.splits:
        raise CrlError(
            f"{name} has the splits {', '.join(source.splits)}, not {split!r}.{did_you_mean(split, source.splits)}"
        )
    return source, split


def run_export(options: argparse.Namespace) -> None:
    from ..evaluation.evaluate import of_branch
    from ..evaluation.tables import batches, device_of

    _check_run(options.run)
    pipeline = export.load(options.run)  # this needs no data
    path = Path(options.out or Path(options.run) / "export")
    export.save(pipeline, path)
    print(f"{path}: {folder.SPEC} and {export.WEIGHTS}, for crl_core.load({str(path)!r})")
    try:
        source = of_branch(recipe_of(options.run, []).source, pipeline, options.branch)
        items = source.items(source.splits[-1])
    except CrlError as error:
        print(f"no {export.GRAPH}, which is traced on items of the run's source: {error}")
        return
    example = pipeline.clean(next(batches(items, 4, device_of(pipeline))))
    difference = export.to_onnx(pipeline, example, path / export.GRAPH, options.branch)
    print(f"{path / export.GRAPH}: the encoder, within {difference:.1g} of torch's numbers")
