"""Checks of recipes."""

from __future__ import annotations

import inspect
import itertools
import re
import tomllib
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from ...contracts.parts import Stream
from ...data.view import View
from ...engine import folder
from ...engine.loading import without_broken
from ...errors import CrlError
from ...recipes.prepare import recipe
from ...recipes.presets import presets_of
from ...recipes.recipe import Recipe
from ...recipes.tables import describe_method
from ...spec.spec import to_toml
from ..outcome import Fails, all_same, expect, finite
from ..plugin import Case

ROWS = 16


def has_a_default_for_everything(case: Case) -> None:
    """It can be called without options, and returns a `Recipe`."""
    needed = [name for name, p in inspect.signature(case.cls).parameters.items() if p.default is p.empty]
    expect(not needed, f"{', '.join(needed)}: an option of a recipe has a default")
    made = case.cls()
    expect(isinstance(made, Recipe), f"it returns a {type(made).__name__}, expected a Recipe")


def names_its_paper(case: Case) -> None:
    """Its docstring has a line `Paper: …`."""
    text = inspect.getdoc(case.cls) or ""
    expect(re.search(r"^\s*Paper:\s*\S", text, re.MULTILINE) is not None, "its docstring has no line `Paper: …`")


def presets_can_be_made(case: Case) -> None:
    """Each of its presets has settings that exist, and makes a recipe."""
    for name in presets_of(case.cls):
        try:
            recipe(case.cls, preset=name)
        except CrlError as error:
            raise Fails(f"its preset {name!r}: {error}") from error


def spec_round_trip(case: Case) -> None:
    """The spec of a run of it, read again, gives the same recipe."""
    made: Recipe = case.make()
    data = folder.spec_of(made.pipeline, made.source, made.training)
    again = folder.parts_of(tomllib.loads(to_toml(data)))
    found = folder.spec_of(*again)
    expect(found == data, f"it was {data}, and came back as {found}")


def trains(case: Case) -> None:
    """Three steps have a finite loss, and every weight that trains gets a gradient."""
    made: Recipe = case.make()
    batches = batches_of(made)
    pipeline = made.pipeline.build(batches[0], made.source).train()
    weights = {name: weight for name, weight in pipeline.named_parameters() if weight.requires_grad}
    expect(bool(weights), "it has no weights to train")
    optimiser = torch.optim.SGD(weights.values(), lr=1e-3)
    reached: set[str] = set()
    for batch in 3 * batches:
        optimiser.zero_grad()
        losses = pipeline.loss(batch)
        finite([losses.total.detach()], "the loss")
        losses.total.backward()
        reached |= {name for name, weight in weights.items() if weight.grad is not None and bool(weight.grad.any())}
        optimiser.step()
        pipeline.on_step()
    dead = [name for name in weights if name not in reached]
    expect(not dead, f"no gradient reaches {', '.join(dead)}")


def deterministic_under_a_seed(case: Case) -> None:
    """The same seed gives the same loss."""
    found = []
    for _ in range(2):
        made: Recipe = case.make()
        torch.manual_seed(5)
        pipeline = made.pipeline.build(batch_of(made), made.source)
        found.append([pipeline.loss(batch_of(made)).total.detach()])
    all_same(found[1], found[0], "the loss, the second time with the same seed", rtol=0, atol=0)


def positives_and_negatives_are_disjoint(case: Case) -> None:
    """No pair is both positive and negative, and some are positive."""
    relations_are_disjoint(case.make())


def stands_in_the_tables(case: Case) -> None:
    """`crl methods` can print its query, positives, negatives, encoder, heads and loss."""
    for column, text in describe_method(case.make().pipeline).items():
        expect(bool(text), f"its column {column!r} is empty")


def state_through_safetensors(case: Case) -> None:
    """Its state is tensors by name, and files of its parts, which a new one can load."""
    made, fresh = case.make(), case.make(seed=1)
    pipeline = made.pipeline.build(batch_of(made), made.source)
    pipeline.loss(batch_of(made))
    pipeline.on_step()
    files = {place: part.files() for place, part in pipeline.parts_with("files")}
    for place, part in fresh.pipeline.parts_with("load_files"):
        part.load_files(files[place])
    state: dict[str, Tensor] = {name: x.detach().clone().contiguous() for name, x in pipeline.state_dict().items()}
    fresh.pipeline.load_state_dict(load(save(state)))
    found, wanted = (each.encode(batch_of(made)) for each in (fresh.pipeline, pipeline))
    all_same([found], [wanted], "what a fresh one with the loaded state makes of the items")


def relations_are_disjoint(made: Recipe) -> None:
    """Raises Fails if a pair is both positive and negative, or a contrast has no positive."""
    batches = batches_of(made)
    pipeline = made.pipeline.build(batches[0], made.source)
    with torch.no_grad():
        tables = [(batch.source, pipeline.embed(pipeline.draw(batch))) for batch in batches]
    for contrast, (source, table) in itertools.product(pipeline.contrasts, tables):
        if not pipeline.runs(contrast, source) or not set(contrast.branches) <= set(table):
            continue  # of another source
        pairs = contrast.pairs(table)
        if pairs is None:
            continue
        positive, negative = pairs.masks()
        both = int((positive & negative).sum())
        expect(
            not both,
            f"{both} pairs of {contrast.name!r} are positive by {pairs.positive} and negative by {pairs.negative}",
        )
        expect(bool(positive.any()), f"of {contrast.name!r} no pair is positive by {pairs.positive}")
        alone = not contrast.memories and contrast.loss.takes == "scores"
        expect(not alone or bool(negative.any()), f"of {contrast.name!r} no pair is negative by {pairs.negative}")


def batch_of(made: Recipe) -> View:
    """A few items of its source; of the first one, if it has several."""
    return batches_of(made)[0]


def batches_of(made: Recipe) -> list[View]:
    """A few items of every one of its sources."""
    items = made.source.items(made.source.splits[0])
    apart: list[Any] = items.apart() if hasattr(items, "apart") else [items]
    return [_batch(each) for each in apart]


def _batch(items: Any) -> View:
    if isinstance(items, Stream):
        first: View = next(iter(items.batches_from(ROWS, None, 0, 0, 1)))[0]
        return first
    for start in range(0, len(items), ROWS):
        found = without_broken(items.__getitems__(list(range(start, min(start + ROWS, len(items))))))
        if len(found):
            return found
    raise Fails("none of the items of its source can be used")
