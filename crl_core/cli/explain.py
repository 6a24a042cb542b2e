"""crl explain, crl methods."""

from __future__ import annotations

import argparse
import inspect
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from ..engine import folder
from ..engine.loading import batches_of, first_of
from ..protocols import Problem
from ..recipe import Recipe, parse_settings, prepare, table, with_settings
from ..registry import get, known, load
from ..registry.kernels import rank


def run_methods(options: argparse.Namespace) -> None:
    rows = table()
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
    path = Path(what)
    if path.suffix in (".toml", ".json") or (path / folder.SPEC).exists():
        return Recipe(*folder.parts_of(with_settings(folder.open_spec(path), settings)))
    return prepare(get("recipe", what), settings)


def run_explain(options: argparse.Namespace) -> None:
    recipe = recipe_of(options.what, options.settings)
    for line in _slots(folder.spec_of(recipe.pipeline, recipe.source, recipe.training), ""):
        print(line)
    torch.manual_seed(recipe.training.seed)
    items = recipe.source.items(recipe.source.splits[0])
    batch = first_of(items, batches_of(items, recipe.training, epoch=0))
    pipeline = recipe.pipeline.build(batch)
    pipeline.loss(batch)  # one step fills the memories
    print(f"\nThe first batch, {len(batch)} items:")
    table = pipeline.embed(pipeline.sampler(batch))
    for contrast in pipeline.contrasts:
        pairs = contrast.pairs(table)
        if pairs is not None and contrast.loss.takes == "scores":
            best, passed_over = rank(Problem(pairs, contrast.score, contrast.loss))
            print(f"{contrast.name}: {pairs.shape[0]} × {pairs.shape[1]} scores by the kernel {best}")
            for address, reasons in passed_over.items():
                print(f"  not {address}: {'; '.join(reasons)}")
    print(pipeline.explain(batch, options.query))


def _slots(data: Any, place: str) -> Iterator[str]:
    """A line for every part: where it stands, what it is, whose it is, and its options."""
    if isinstance(data, Mapping) and "use" in data:
        part = next(part for part in known() if part.address == data["use"])
        loaded = load(part).part
        where = f"{inspect.getsourcefile(loaded)}:{inspect.getsourcelines(loaded)[1]}"
        yield f"{place} = {part.address}  ({part.distribution} {part.version}, {where})"
    if isinstance(data, Mapping):
        for name, value in data.items():
            if name != "use":
                yield from _slots(value, f"{place}.{name}".lstrip("."))
    elif isinstance(data, list) and any(isinstance(item, Mapping) for item in data):
        for i, item in enumerate(data):
            yield from _slots(item, f"{place}.{i}")
    else:
        yield f"  {place} = {data}"
