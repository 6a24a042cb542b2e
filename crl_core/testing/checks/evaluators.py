"""Checks of evaluators."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...data.view import Embeddings
from ...evaluation.evaluate import TABLES, sample_of, suitable, tables_of, takes_pipeline
from ..outcome import Skips, all_same, expect
from ..plugin import Case
from ..trees import cut, tensors_in

Tables = tuple[Embeddings, Embeddings, tuple[Tensor, Tensor] | None]


def gives_figures(case: Case) -> None:
    """It returns finite numbers by name, and `needs` names the columns that it requires."""
    evaluator = case.make()
    expect(
        isinstance(evaluator.needs, tuple) and all(isinstance(name, str) for name in evaluator.needs),
        f"needs is a tuple of columns, not {evaluator.needs!r}",
    )
    found = evaluator(*_inputs(case))
    expect(isinstance(found, Mapping) and bool(found), f"it returns numbers by name, not {found!r}")
    for name, value in found.items():
        expect(isinstance(name, str) and isinstance(value, float), f"{name!r}: {value!r} is not a float")
        expect(math.isfinite(value), f"{name} is {value}")


def same_figures_every_time(case: Case) -> None:
    """The same tables give the same numbers; so does the same pipeline, with the seed that evaluation sets."""
    found = []
    for seed in (1, 2):
        torch.manual_seed(0 if takes_pipeline(case.cls) else seed)
        found.append(case.make()(*_inputs(case)))
    expect(found[0] == found[1], f"first {found[0]}, then {found[1]}")


def order_does_not_matter(case: Case) -> None:
    """The order of the test items changes nothing."""
    train, test, views = _tables(case)
    rows = torch.randperm(len(test)).tolist()
    turned = None if views is None else tuple(view[rows] for view in views)
    found = case.make()(train, cut(test, rows, len(test)), turned)
    for name, value in case.make()(train, test, views).items():
        expect(math.isclose(found[name], value, rel_tol=1e-4, abs_tol=1e-5), f"{name}: {found[name]}, before {value}")


def leaves_its_tables_alone(case: Case) -> None:
    """It doesn't change the tables or the pipeline."""
    inputs = _inputs(case)

    def state() -> list[Tensor]:
        first = inputs[0]
        held = inputs if isinstance(first, Embeddings) else first.state_dict()
        return [tensor.clone() for tensor in tensors_in(held)]

    before = state()
    case.make()(*inputs)
    all_same(state(), before, "what it was given, afterwards", rtol=0, atol=0)


def works_without_views(case: Case) -> None:
    """Without two views of the test items, it returns finite numbers, or none."""
    train, test, _ = _tables(case)
    for name, value in case.make()(train, test, None).items():
        expect(math.isfinite(value), f"{name} is {value}")


def looks_at_the_tables_it_names(case: Case) -> None:
    """`tables` are some of train, test and views, and the others may be None; `sample` is a number of items."""
    if takes_pipeline(case.cls):
        expect(
            not hasattr(case.cls, "tables") and not hasattr(case.cls, "sample"),
            "`tables` and `sample` are for evaluators of tables: this one takes the pipeline",
        )
        return
    asked, count = tables_of(case.cls), sample_of(case.cls)
    expect(
        isinstance(asked, tuple) and bool(asked) and set(asked) <= set(TABLES),
        f"tables is a tuple of {', '.join(TABLES)}, not {asked!r}",
    )
    expect(
        count is None or (isinstance(count, int) and count > 0), f"sample is a number of items, or None, not {count!r}"
    )
    tables = dict(zip(TABLES, _tables(case), strict=True))
    found = case.make()(*tables.values())
    named = case.make()(*(table if name in asked else None for name, table in tables.items()))
    expect(found == named, f"with the tables alone that it names it says {named}, and with all {found}")


def leaves_the_generators_alone(case: Case) -> None:
    """It doesn't change the global random generators, so training goes on as without it."""
    if takes_pipeline(case.cls):
        raise Skips("evaluation restores the generators after an evaluator of pipelines")
    tables = _tables(case)
    before = _generators()
    case.make()(*tables)
    expect(_generators() == before, "it draws from the global random generators: give it its own generator")


def _generators() -> str:
    return repr((torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()))


def _inputs(case: Case) -> tuple[Any, ...]:
    """Tables, or the pipeline and the source of the first recipe whose source asks for it."""
    if not takes_pipeline(case.cls):
        return _tables(case)

    def made() -> tuple[Any, ...]:
        for recipe in case.plugin.recipes:
            if case.part.address in suitable(recipe.source):
                items = recipe.source.items(recipe.source.splits[0])
                batch = items.__getitems__(list(range(min(len(items), 16))))
                pipeline = recipe.pipeline.build(batch, recipe.source).eval()
                return pipeline, recipe.source, recipe.source.splits[-1]
        raise Skips("no recipe has a source that names it: give an example, a pipeline with its source and a split")

    inputs: tuple[Any, ...] = case.example(made)
    return inputs


def _tables(case: Case) -> Tables:
    """Three clusters, known by every column that it needs."""
    if takes_pipeline(case.cls):
        raise Skips("it takes a pipeline, not tables")

    def made() -> Tables:
        generator = torch.Generator().manual_seed(0)
        found = []
        for rows in (60, 30):
            label = torch.arange(rows) % 3
            z = torch.eye(3, 8)[label] * 3 + torch.randn(rows, 8, generator=generator)
            columns = dict.fromkeys(("label", *case.cls.needs), label)
            found.append(Embeddings(z, {**columns, "instance": torch.arange(rows)}))
        train, test = found
        return train, test, (test.z, test.z + 0.1 * torch.randn(test.z.shape, generator=generator))

    tables: Any = case.example(made)
    return tables  # type: ignore[no-any-return]
