"""Checks of readers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ...data.rows import row_count, take_rows
from ...data.view import View
from ..outcome import Fails, all_same, expect
from ..plugin import Case
from ..trees import tensors_in

_TEXTS = ["a cat", "a dog", "two small dogs", "rain", "the sun over the hills", "a cat in the rain", "dogs", "hills"]


def gives_a_view(case: Case) -> None:
    """It returns a `View` whose data and columns have a row for each item."""
    items = _items(case)
    view = _read(case, items)
    expect(isinstance(view, View), f"it returns a {type(view).__name__}, not a View")
    expect(row_count(view.data) == len(items), f"its data have {row_count(view.data)} rows for {len(items)} items")
    for name, column in view.meta.items():
        expect(len(column) == len(items), f"the column {name!r} has {len(column)} rows for {len(items)} items")


def instance_is_the_place(case: Case) -> None:
    """`instance` is the position of an item in the sequence: 0, 1, 2, …."""
    items = _items(case)
    for some in (items, items[2:5]):
        view = _read(case, some)
        expect("instance" in view.meta, "its items have no column 'instance'")
        found = view.meta["instance"].tolist()
        expect(found == list(range(len(some))), f"instance is {found} for {len(some)} items")


def rows_are_their_own(case: Case) -> None:
    """The row of an item depends on no other item, and not on the position."""
    items = _items(case)
    whole, last = _read(case, items), len(items) - 1
    for order in ([*range(last, -1, -1), min(1, last)], [0], [last, 0]):
        found = _read(case, [items[place] for place in order])
        wanted = take_rows(whole.data, torch.tensor(order))
        all_same(tensors_in(found.data), tensors_in(wanted), f"the items {order} by themselves", rtol=0, atol=0)
        for name in set(whole.meta) - {"instance"}:
            same = torch.equal(found.meta[name], whole.meta[name][order])
            expect(same, f"the column {name!r} depends on other items")


def reads_the_same_every_time(case: Case) -> None:
    """The same items give the same batch, with any seed: only the sampler is random."""
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        found.append(_read(case, _items(case)))
    all_same(tensors_in(found[1]), tensors_in(found[0]), "the items, read again", rtol=0, atol=0)


def one_item(case: Case) -> None:
    """A single item is enough."""
    view = _read(case, _items(case)[:1])
    expect(row_count(view.data) == 1, f"of one item it makes {row_count(view.data)} rows")


def _items(case: Case) -> list[Any]:
    """Raw items: those of its author, those of a source with raw items, or a few texts."""
    given = case.example(lambda: None)
    if isinstance(given, Sequence) and not isinstance(given, str):
        return list(given)
    data = case.raw().data if case.source is not None else None
    return list(data) if isinstance(data, (list, tuple)) else _TEXTS


def _read(case: Case, items: Sequence[Any]) -> View:
    try:
        found: View = case.make()(items)
    except Exception as error:
        if case.example(lambda: None) is None and items and items[0] in _TEXTS:
            raise Fails(
                f"it reads no texts ({type(error).__name__}: {error}). Give the kit an example: "
                f"conformance({case.plugin.distribution!r}, examples={{{case.part.address!r}: make_items}}), where "
                f"make_items() returns a list of raw items"
            ) from error
        raise
    return found
