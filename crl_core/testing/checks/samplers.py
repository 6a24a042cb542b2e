"""Checks of samplers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...data.rows import row_count
from ...data.view import View, Views
from ...errors import CrlError
from ..outcome import Fails, Skips, all_same, expect
from ..plugin import ROWS, Case
from ..trees import cut, tensors_in
from .recipes import relations_are_disjoint


def draws_the_views_it_names(case: Case) -> None:
    """It draws a `View` for each name in `views`, and no other."""
    sampler = case.make()
    names = sampler.views
    expect(
        isinstance(names, tuple) and bool(names) and all(isinstance(name, str) for name in names),
        f"views is a tuple of names, not {names!r}",
    )
    found = sampler(case.raw())
    expect(set(found) == set(names), f"it draws {', '.join(found)}, and names {', '.join(names)}")
    clean = sampler.clean(case.raw())
    if not isinstance(clean, View):
        strange = set(clean) - set(names)
        known = bool(clean) and not strange
        expect(known, f"clean gives the views {', '.join(clean)}, and it names {', '.join(names)}")
    for name, view in [*found.items(), *by_name(clean).items()]:
        expect(isinstance(view, View), f"the view {name!r} is a View, not a {type(view).__name__}")


def metadata_are_complete(case: Case) -> None:
    """Every view has the column `instance` and the columns of the batch, with a value for each row."""
    sampler, batch = case.make(), case.raw()
    for name, view in [*sampler(batch).items(), *by_name(sampler.clean(batch)).items()]:
        expect("instance" in view.meta, f"the view {name!r} has lost the column 'instance'")
        lost = set(batch.meta) - set(view.meta)
        expect(not lost, f"the view {name!r} has lost the columns {', '.join(sorted(lost))}")
        rows = row_count(view.data)
        for column, values in view.meta.items():
            expect(len(values) == rows, f"the column {column!r} of the view {name!r} has {len(values)} of {rows} rows")
        strange = set(view.meta["instance"].flatten().tolist()) - set(batch.meta["instance"].tolist())
        expect(not strange, f"the view {name!r} has instances that the batch doesn't have: {sorted(strange)[:5]}")


def clean_is_not_random(case: Case) -> None:
    """`clean` is not random: its rows are those of the batch, the same every time."""
    sampler, batch = case.make(), case.raw()
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        found.append(by_name(sampler.clean(batch)))
    for name, view in found[0].items():
        all_same(tensors_in(found[1][name]), tensors_in(view), f"{name}, the second time", rtol=0, atol=0)
        expect(torch.equal(view.meta["instance"], batch.meta["instance"]), f"{name} has other rows than the batch")


def rows_depend_on_nothing_else(case: Case) -> None:
    """The view of an item doesn't depend on the other items of the batch."""
    sampler = case.make()
    kept = list(range(1, ROWS))
    first, second = (_drawn(sampler, case.raw([other, *kept])) for other in (0, 2))
    for name in first:
        one, other = (_rows(views[name], kept) for views in (first, second))
        all_same(tensors_in(one), tensors_in(other), f"rows 1 to {ROWS - 1} of the view {name!r}, with another row 0")


def rows_are_drawn_by_themselves(case: Case) -> None:
    """Each row has its own random numbers: the same item eight times gives different views, if they are random."""
    sampler, batch = case.make(), case.raw([0] * ROWS)
    alike: dict[str, bool] = dict.fromkeys(sampler.views, True)
    random: dict[str, bool] = dict.fromkeys(sampler.views, False)
    first = _drawn(sampler, batch, 0)
    for seed in (0, 1, 2):
        for name, view in _drawn(sampler, batch, seed).items():
            rows = [list(tensors_in(_rows(view, [row]).data)) for row in range(ROWS)]
            alike[name] &= all(map(_equal, rows, [rows[0]] * ROWS))
            random[name] |= not _equal(list(tensors_in(view.data)), list(tensors_in(first[name].data)))
    same = [name for name in sampler.views if random[name] and alike[name]]
    expect(not same, f"the view {', '.join(map(repr, same))} is random, and yet alike for all rows: one draw for all?")


def every_row_finds_its_other_view(case: Case) -> None:
    """Every row has the same instance in another view: a positive."""
    views = case.make()(case.raw())
    if len(views) < 2:
        raise Skips("it draws a single view")
    instances = {name: set(view.meta["instance"].flatten().tolist()) for name, view in views.items()}
    for name, own in instances.items():
        others = set().union(*(found for other, found in instances.items() if other != name))
        expect(own <= others, f"instances {sorted(own - others)[:5]} of the view {name!r} are in no other view")


def positives_and_negatives_are_disjoint(case: Case) -> None:
    """By the relations of a recipe that uses it, no pair is both positive and negative, and some are positive."""
    used = [
        made for made in case.plugin.recipes if any(type(one) is case.cls for one in made.pipeline.samplers.values())
    ]
    if not used:
        raise Skips("no recipe of this distribution uses it")
    for made in used:
        relations_are_disjoint(made)


def one_item(case: Case) -> None:
    """A batch of one item is enough."""
    views = case.make()(case.raw([3]))
    for name, view in views.items():
        expect(len(view) >= 1, f"the view {name!r} of one item has no row")


def by_name(clean: View | Views) -> dict[str, View]:
    """The views that `clean` returns, by names for a message."""
    return {"clean": clean} if isinstance(clean, View) else {f"clean, {name!r}": view for name, view in clean.items()}


def _drawn(sampler: object, batch: View, seed: int = 0) -> Views:
    torch.manual_seed(seed)
    return sampler(batch)  # type: ignore[operator,no-any-return]


def _rows(view: View, rows: Sequence[int]) -> View:
    if len(view) != ROWS:
        raise Skips("its views don't have the same number of rows as the batch")
    try:
        found: View = cut(View(view.data), rows, ROWS)
    except CrlError as error:
        raise Fails(str(error)) from error
    return found


def _equal(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(map(torch.equal, one, other))
