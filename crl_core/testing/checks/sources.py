"""What a source gives."""

from __future__ import annotations

from typing import Any

import torch

from ...protocols import Items, OrdersItself, View
from ..outcome import Skips, all_same, expect
from ..plugin import Case
from ..trees import cut, tensors_in


def names_its_splits(case: Case) -> None:
    """`splits` is a tuple of different names, the first for training, and each has items."""
    source = case.make()
    names = source.splits
    expect(
        isinstance(names, tuple) and bool(names) and all(isinstance(name, str) for name in names),
        f"splits is a tuple of names, not {names!r}",
    )
    expect(len(set(names)) == len(names), f"splits names one twice: {', '.join(names)}")
    for name in names:
        items = source.items(name)
        expect(isinstance(items, Items), f"items({name!r}) has no __len__ and __getitems__")
        expect(len(items) > 0, f"the split {name!r} is empty")


def refuses_other_splits(case: Case) -> None:
    """A split that it doesn't have is an error, not another split."""
    source = case.make()
    source.items(source.splits[0])
    try:
        source.items("no-such-split")
    except Exception:
        return
    expect(False, "items('no-such-split') gives items")


def instance_is_the_index(case: Case) -> None:
    """`__getitems__` gives a `View` of these items; `instance` is their index, every column has a row for each."""
    items = _items(case)
    for rows in (_some(items), [0]):
        view = items.__getitems__(rows)
        expect(isinstance(view, View), f"__getitems__ gives a View, not a {type(view).__name__}")
        expect("instance" in view.meta, "its items have no column 'instance'")
        found = view.meta["instance"].tolist()
        expect(found == rows, f"instance is {found} for the items {rows}")
        for name, column in view.meta.items():
            expect(len(column) == len(rows), f"the column {name!r} has {len(column)} rows for {len(rows)} items")


def same_items_every_time(case: Case) -> None:
    """Asked again, it gives the same, as does another one with the same options."""
    first, again = _items(case), _items(case)
    rows = _some(first)
    wanted = list(tensors_in(first.__getitems__(rows)))
    all_same(tensors_in(first.__getitems__(rows)), wanted, "the same items again", rtol=0, atol=0)
    torch.manual_seed(99)
    all_same(tensors_in(again.__getitems__(rows)), wanted, "the items of another one", rtol=0, atol=0)


def any_order(case: Case) -> None:
    """Items come in the order asked for, and may be asked for twice."""
    items = _items(case)
    rows = _some(items)
    turned = [*reversed(rows), rows[0]]
    places = [rows.index(row) for row in turned]
    wanted = cut(items.__getitems__(rows), places, len(rows))
    all_same(tensors_in(items.__getitems__(turned)), tensors_in(wanted), f"items {turned}", rtol=0, atol=0)


def orders_itself_by_a_seed(case: Case) -> None:
    """Where it orders its own batches, these hold its items, and the same generator gives the same order."""
    items: Any = _items(case)
    count = len(items)
    if not isinstance(items, OrdersItself):
        raise Skips("it leaves the order to others")
    orders = (items.batches(4, torch.Generator().manual_seed(1)) for _ in range(2))
    first, again = ([torch.as_tensor(batch).tolist() for batch in order] for order in orders)
    expect(first == again, "the same generator gives other batches")
    every = [index for batch in first for index in batch]
    expect(bool(every), "there is no batch")
    expect(all(0 <= index < count for index in every), f"a batch has an index that is not from 0 to {count - 1}")


def _items(case: Case) -> Items:
    source = case.make()
    found: Items = source.items(source.splits[0])
    return found


def _some(items: Items) -> list[int]:
    """A few different items from all over."""
    count = len(items)
    return list(dict.fromkeys([min(3, count - 1), 0, count - 1, count // 2]))
