"""crl explain, crl diff, crl methods."""

from __future__ import annotations

import argparse
import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from .. import export
from ..contracts.kernels import Problem
from ..engine import folder
from ..engine.loading import first_of
from ..engine.training import stages_of
from ..errors import CrlError
from ..method.pipeline import Pipeline
from ..recipes.prepare import parse_settings, prepare, with_settings
from ..recipes.presets import preset_of, presets_of, shown
from ..recipes.recipe import Recipe
from ..recipes.tables import methods_table
from ..registry import Known, PluginError, get, known, load
from ..registry.kernels import rank
from ..spec.assembly import assemble, describe
from ..spec.comparison import diff


def run_methods(options: argparse.Namespace) -> None:
    rows = methods_table()
    if options.json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    for row in rows:
        print(f"{row['domain']}/{row['name']}")
        for column in ("paper", "query", "positive", "negative", "encoder", "heads", "loss"):
            print(f"  {column:<9} {row[column]}")
        print()


def recipe_of(what: str, texts: list[str]) -> Recipe:
    """The recipe, spec file or run that `what` names, with these settings."""
    settings = parse_settings(texts)
    if _is_spec(what):
        return Recipe(*folder.parts_of(with_settings(folder.open_spec(Path(what)), settings)))
    return prepare(_function(what), settings)


def preset_line(what: str, texts: list[str]) -> str | None:
    """The preset of a recipe, what it sets, and the other presets, as text; None for a spec or a run."""
    if _is_spec(what):
        return None
    recipe = _function(what)
    name, _ = preset_of(recipe, parse_settings(texts).get("preset"))
    others = [f"--set preset={other}" for other in presets_of(recipe) if other != name]
    sets = ", ".join(f"{key} = {value}" for key, value in shown(recipe, name).items())
    return f"preset {name}: {sets}" + (f" (or {', '.join(others)})" if others else "")


def _is_spec(what: str) -> bool:
    return Path(what).suffix in (".toml", ".json") or (Path(what) / folder.SPEC).exists()


def _function(what: str) -> Callable[..., Recipe]:
    try:
        found: Callable[..., Recipe] = get("recipe", what)
    except PluginError as error:
        raise (no_run(what) if Path(what).is_dir() else error) from None
    return found


def from_seed(recipe: Recipe) -> Pipeline:
    """The pipeline with the initial weights of the run's seed."""
    torch.manual_seed(stages_of(recipe.training)[0].seed)
    made = assemble(describe(recipe.pipeline))
    made.meet(recipe.source)
    return made


def no_run(path: str) -> CrlError:
    return CrlError(f"{path} is no run: it has no {folder.SPEC}")


def run_explain(options: argparse.Namespace) -> None:
    recipe = recipe_of(options.what, options.settings)
    for line in _slots(folder.spec_of(recipe.pipeline, recipe.source, recipe.training), ""):
        print(line)
    stage = stages_of(recipe.training)[0]
    items = recipe.source.items(recipe.source.splits[0])
    batch = first_of(items, stage)
    if (Path(options.what) / folder.CHECKPOINT).exists() and not options.settings:
        pipeline = export.load(options.what)  # a run, with its trained weights
    else:
        pipeline = from_seed(recipe).build(batch, recipe.source)
        pipeline.loss(batch)
        pipeline.on_step()  # so that the memories hold the keys of this step
    torch.manual_seed(stages_of(recipe.training)[0].seed)  # for the views
    print(f"\nThe first batch, {len(batch)} items:")
    table = pipeline.embed(pipeline.draw(batch))
    for contrast in pipeline.contrasts:
        pairs = contrast.pairs(table)
        if pairs is not None and contrast.loss.takes == "scores":
            best, passed_over = rank(Problem(pairs, contrast.score, contrast.loss, contrast.symmetric))
            print(f"{contrast.name}: {pairs.shape[0]} × {pairs.shape[1]} scores by the kernel {best}")
            for address, reasons in passed_over.items():
                print(f"  not {address}: {'; '.join(reasons)}")
    print(pipeline.explain(batch, options.query))


def run_diff(options: argparse.Namespace) -> int:
    one, other = recipe_of(options.what, []), recipe_of(options.other, options.settings)
    found = diff(_compared(one), _compared(other))
    print(json.dumps([change._asdict() for change in found], indent=1) if options.json else found)
    return 1 if found else 0


def _compared(recipe: Recipe) -> dict[str, Any]:
    """The spec without the versions of what is installed."""
    data = folder.spec_of(recipe.pipeline, recipe.source, recipe.training)
    return {name: data[name] for name in ("source", "training", "pipeline")}


def _slots(data: Any, place: str) -> Iterator[str]:
    """A line for each part: its place, its address, its distribution; and its options."""
    if isinstance(data, Mapping) and "use" in data:
        part = _part_at(place, data["use"])
        whose = f"  ({part.distribution} {part.version}, {_where(part)})" if part else ""
        yield f"{place} = {data['use']}{whose}"
    if isinstance(data, Mapping):
        for name, value in data.items():
            if name != "use":
                yield from _slots(value, f"{place}.{name}".lstrip("."))
    elif isinstance(data, list) and any(isinstance(item, Mapping) for item in data):
        for i, item in enumerate(data):
            yield from _slots(item, f"{place}.{i}")
    else:
        yield f"  {place} = {data}"


def _part_at(place: str, use: str) -> Known | None:
    """The part with this address and the kind of the place; None for a part of a family."""
    found = {part.kind: part for part in known() if part.address == use}
    kind = next((word for word in reversed(place.split(".")) if word in found), None)
    return found[kind] if kind else next(iter(found.values()), None)


def _where(part: Known) -> str:
    loaded = load(part).part
    try:
        return f"{inspect.getsourcefile(loaded)}:{inspect.getsourcelines(loaded)[1]}"
    except (TypeError, OSError):  # it has no source file
        return part.target
