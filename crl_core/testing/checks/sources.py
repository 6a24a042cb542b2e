"""Checks of sources."""

from __future__ import annotations

import itertools
import json
from typing import Any

import torch
from torch import Tensor

from ...contracts.parts import Items, OrdersItself, Stream
from ...data.view import View
from ..outcome import Skips, all_same, expect
from ..plugin import Case
from ..trees import cut, tensors_in


def names_its_splits(case: Case) -> None:
    """`splits` is a tuple of different names, the first for training, and each has items, or is a stream."""
    source = case.make()
    names = source.splits
    expect(
        isinstance(names, tuple) and bool(names) and all(isinstance(name, str) for name in names),
        f"splits is a tuple of names, not {names!r}",
    )
    expect(len(set(names)) == len(names), f"splits names one twice: {', '.join(names)}")
    for name in names:
        items = source.items(name)
        if isinstance(items, Stream):
            continue
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
    """`__getitems__` returns a `View` of these items; `instance` is their index, and each column has a row per item."""
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
    """It returns the same items every time, and so does another instance with the same options."""
    first, again = _items(case), _items(case)
    rows = _some(first)
    wanted = list(tensors_in(first.__getitems__(rows)))
    all_same(tensors_in(first.__getitems__(rows)), wanted, "the same items again", rtol=0, atol=0)
    torch.manual_seed(99)
    all_same(tensors_in(again.__getitems__(rows)), wanted, "the items of another one", rtol=0, atol=0)


def any_order(case: Case) -> None:
    """Items come in the order of the indices, and an index may occur twice."""
    items = _items(case)
    rows = _some(items)
    turned = [*reversed(rows), rows[0]]
    places = [rows.index(row) for row in turned]
    wanted = cut(items.__getitems__(rows), places, len(rows))
    all_same(tensors_in(items.__getitems__(turned)), tensors_in(wanted), f"items {turned}", rtol=0, atol=0)


def orders_itself_by_a_seed(case: Case) -> None:
    """If it orders its own batches, they have its items, and the same generator gives the same order."""
    items: Any = _items(case)
    count = len(items)
    if not isinstance(items, OrdersItself):
        raise Skips("it doesn't order its batches")
    orders = (items.batches(4, torch.Generator().manual_seed(1)) for _ in range(2))
    first, again = ([torch.as_tensor(batch).tolist() for batch in order] for order in orders)
    expect(first == again, "the same generator gives other batches")
    every = [index for batch in first for index in batch]
    expect(bool(every), "there is no batch")
    expect(all(0 <= index < count for index in every), f"a batch has an index that is not from 0 to {count - 1}")


def a_stream_goes_on_from_any_place(case: Case) -> None:
    """A stream gives the same batches again, and from a place that was stored as JSON, the batches after it."""
    stream = _stream(case)
    every = _taken(stream, None, 4)
    expect(len(every) == 4, f"a stream has no end, and this one has {len(every)} batches")
    for view, _ in every:
        expect("instance" in view.meta, "its items have no column 'instance'")
        expect(len(view) == _BATCH, f"a batch of {_BATCH} has {len(view)} items")
    everything = [list(tensors_in(view)) for view, _ in every]
    all_same(_numbers(_taken(_stream(case), None, 4)), _flat(everything), "the stream again", rtol=0, atol=0)
    for done in range(3):
        place = json.loads(json.dumps(every[done][1]))
        left = _taken(_stream(case), place, 3 - done)
        all_same(_numbers(left), _flat(everything[done + 1 :]), f"what follows batch {done}", rtol=0, atol=0)


def processes_share_a_stream(case: Case) -> None:
    """Two processes that read the same stream see different items."""
    stream = _stream(case)
    seen = [
        {int(number) for view, _ in _taken(stream, None, 1, rank, 2) for number in view.meta["instance"]}
        for rank in range(2)
    ]
    both = seen[0] & seen[1]
    expect(not both, f"both processes see the items {sorted(both)[:5]}")


_BATCH = 2


def _taken(stream: Stream, place: Any, count: int, rank: int = 0, world: int = 1) -> list[tuple[View, Any]]:
    return list(itertools.islice(stream.batches_from(_BATCH, place, 1, rank, world), count))


def _numbers(batches: list[tuple[View, Any]]) -> list[Tensor]:
    return _flat([list(tensors_in(view)) for view, _ in batches])


def _flat(tensors: list[list[Tensor]]) -> list[Tensor]:
    return list(itertools.chain.from_iterable(tensors))


def _stream(case: Case) -> Stream:
    source = case.make()
    found = source.items(source.splits[0])
    if not isinstance(found, Stream):
        raise Skips("its items are no stream")
    return found


def _items(case: Case) -> Items:
    """Those of the first split that is no stream.

    Raises:
        Skips: all are.
    """
    source = case.make()
    for name in source.splits:
        found = source.items(name)
        if isinstance(found, Items):
            return found
    raise Skips("its items are a stream")


def _some(items: Items) -> list[int]:
    """A few different items from all over."""
    count = len(items)
    return list(dict.fromkeys([min(3, count - 1), 0, count - 1, count // 2]))
