"""The tables for evaluators. Each item is read once, for raw input, untrained encoder and trained encoder.

The representations `[N, D]` of a split are kept once, in float32. Raw data are kept too; only a sample of them, if they
are large. Frames and tokens are averaged batch by batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs
import numpy as np
import torch
from torch import Tensor, nn

from ..contracts.parts import Items, Stream
from ..data.view import Embeddings, SameView, View, Views
from ..engine.loading import OF_STREAM, some_of, without_broken
from ..errors import CrlError
from ..method.pipeline import Pipeline

RAW = {"train": 160_000_000, "test": 1 << 26}
"""The largest raw tables in numbers, 640 and 256 MB: all of CIFAR-10, or 3,255 and 1,365 images of 128 px."""
_BATCH = 1 << 26  # the number of bytes that are read at a time
_FIRST = 32  # the number of items from which the size of an item is estimated
_ENCODED = 1 << 22  # the number of numbers that are encoded at a time


class NoTable(CrlError):
    """The data are not a table of numbers; an encoder may still take them."""


def batches(items: Items | Stream, size: int, device: torch.device) -> Iterator[View]:
    """All items that can be used, in batches, in order; for a stream, the first of them.

    Args:
        size: the number of items in a batch; fewer if a batch would have more than 64 MB.

    Raises:
        CrlError: there are no such items.
    """
    found = 0
    for batch in in_batches(items, size):
        found += len(batch)
        yield batch.to(device)
    if not found:
        count = "the" if isinstance(items, Stream) else len(items)
        raise CrlError(f"not one of {count} items can be used; the log has the reasons")


def in_batches(items: Items | Stream, size: int) -> Iterator[View]:
    """As `batches`, on the device of the items, and without an error if there are none."""
    if isinstance(items, Stream) or hasattr(items, "apart") or min(size, len(items)) <= _FIRST:
        yield from some_of(items, size)
        return
    first = _items(items, 0, _FIRST)
    size = max(1, min(size, _BATCH * len(first) // max(1, _bytes(first.data))))
    if (end := min(size, len(items))) > _FIRST:
        yield from _joined(first, _items(items, _FIRST, end))
    elif len(first):
        yield first
    for start in range(max(end, _FIRST), len(items), size):
        found = _items(items, start, min(start + size, len(items)))
        if len(found):
            yield found


def _items(items: Items, start: int, end: int) -> View:
    return without_broken(items.__getitems__(list(range(start, end))))


def _joined(first: View, second: View) -> Iterator[View]:
    there = [view for view in (first, second) if len(view)]
    try:
        yield from [View.join(there)] if there else []
    except CrlError:  # such data can't be joined
        yield from there


def _bytes(data: object) -> int:
    """The number of bytes of the data, as far as it is known."""
    if isinstance(data, Tensor):
        values = data.values() if data.is_nested else data
        return values.numel() * values.element_size()
    if isinstance(data, np.ndarray):
        return data.nbytes
    if isinstance(data, Mapping):
        return sum(map(_bytes, data.values()))
    return sum(map(_bytes, data)) if isinstance(data, list | tuple) else 0


def raw(view: View) -> Tensor:
    """The raw data as a table, `[N, d]`.

    Raises:
        NoTable: they are not a table of numbers.
    """
    if not isinstance(view.data, Tensor):
        raise NoTable(f"raw input of type {type(view.data).__name__} is not a table of numbers")
    if view.data.is_nested:
        raise NoTable("raw input has rows of different lengths")
    if view.data.dim() < 2:
        raise NoTable("raw input is one number per item, which refers to a row of a table")
    return view.data.flatten(1).float()


def device_of(module: nn.Module) -> torch.device:
    return next((parameter.device for parameter in module.parameters()), torch.device("cpu"))


@attrs.frozen(eq=False)
class Seen:
    """The table of a split for raw input, the untrained encoder or the trained encoder.

    Attributes:
        table: `[n, D]` in float32, on the CPU, with the columns `[n]`.
        order: `[n]`, the place of each row in a random order, the same every time. A sample of k items has those
            whose place is below k.
        views: two random views of the items, `[v, D]` each, and `of_views` their places; None if there are none.
        items: the number of items that were read.
        whole: the number of their rows.
    """

    table: Embeddings
    order: Tensor
    views: tuple[Tensor, Tensor] | None
    of_views: Tensor
    items: int
    whole: int

    def sample(self, count: int | None) -> Seen:
        """The table of at most so many items; all items for None."""
        if count is None or count >= self.items:
            return self
        rows, drawn = self.order < count, self.of_views < count
        meta = {name: column[rows] for name, column in self.table.meta.items()}
        views = None if self.views is None else (self.views[0][drawn], self.views[1][drawn])
        return Seen(
            Embeddings(self.table.z[rows], meta), self.order[rows], views, self.of_views[drawn], self.items, self.whole
        )


class Growing:
    """A table that grows, in memory that is reserved for the expected number of rows, so that it is never copied."""

    def __init__(self, expected: int) -> None:
        self.expected, self.count, self.z = expected, 0, torch.empty(0)

    def add(self, rows: Tensor) -> None:
        end = self.count + len(rows)
        if end > len(self.z):
            grown = rows.new_empty(max(end, self.expected, 2 * len(self.z)), *rows.shape[1:])
            if self.count:
                grown[: self.count] = self.z[: self.count]
            self.z = grown
        self.z[self.count : end] = rows
        self.count = end

    @property
    def rows(self) -> Tensor:
        return self.z[: self.count]


class _Kept:
    """The growing tables for raw input or one encoder, while the items are read."""

    def __init__(self, expected: int) -> None:
        self.z, self.views = Growing(expected), (Growing(expected), Growing(expected))
        self.columns: list[dict[str, Tensor]] = []
        self.order: list[Tensor] = []
        self.of_views: list[Tensor] = []

    def add(self, z: Tensor, meta: Mapping[str, Tensor], order: Tensor) -> None:
        self.z.add(z)
        self.columns.append({name: column.cpu() for name, column in meta.items() if column.shape == z.shape[:1]})
        self.order.append(order)

    def add_views(self, views: tuple[Tensor, Tensor], order: Tensor) -> None:
        for rows, z in zip(self.views, views, strict=True):
            rows.add(z)
        self.of_views.append(order)

    def done(self, items: int, whole: int) -> Seen:
        shared = [name for name in self.columns[0] if all(name in columns for columns in self.columns)]
        meta = {name: torch.cat([columns[name] for columns in self.columns]) for name in shared}
        of_views = torch.cat(self.of_views) if self.of_views else torch.empty(0, dtype=torch.int64)
        views = (self.views[0].rows, self.views[1].rows) if self.of_views else None
        return Seen(Embeddings(self.z.rows, meta), torch.cat(self.order), views, of_views, items, whole)


@attrs.frozen(eq=False)
class Look:
    """Makes the tables: of raw input, and of the branch of each of these pipelines.

    Attributes:
        pipeline: the pipeline whose sampler draws the views.
        encoders: the pipelines by name, in the order of the figures.
        batch_size: the number of items that are read at a time.
        chunk: the number of rows that are encoded at a time, if they are large. With as many as in a training step,
            it needs no more memory than training.
    """

    pipeline: Pipeline
    encoders: Mapping[str, Pipeline]
    branch: str | None
    batch_size: int
    chunk: int | None

    def at(self, items: Items | Stream, numbers: int, views: int | None, notes: list[str]) -> dict[str, Seen]:
        """The tables of a split.

        Args:
            numbers: the largest number of numbers in the raw table.
            views: the number of items of which two random views are drawn; None for all.
        """
        count = OF_STREAM if isinstance(items, Stream) else len(items)
        order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
        kept: dict[str, _Kept] = {}
        limit: int | None = None  # the number of raw rows, known after the first batch
        read, rows, device = 0, 0, device_of(self.pipeline)
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(0)  # the same views every time
            for batch in batches(items, self.batch_size, device):
                clean = self.pipeline.clean(batch)
                view = clean[self._read[0]]
                places = order[torch.arange(rows, rows + len(view)) % count]
                if not read:
                    limit = self._limit(view, numbers, notes)
                    kept = {"raw": _Kept(min(count, limit))} if limit else {}
                    kept |= {name: _Kept(count) for name in self.encoders}
                self._add(kept, limit, clean, view.meta, places)
                self._add_views(kept, limit, batch, order[torch.arange(read, read + len(batch)) % count], views)
                read, rows = read + len(batch), rows + len(view)
        return {name: each.done(read, rows) for name, each in kept.items() if each.columns}

    def _add(
        self, kept: Mapping[str, _Kept], limit: int | None, clean: Views, meta: Mapping[str, Tensor], places: Tensor
    ) -> None:
        for name, each in kept.items():
            if name != "raw":
                each.add(self._encoded(self.encoders[name], clean), meta, places)
            elif (some := places < (limit or 0)).any():
                columns = {name: column[some] for name, column in meta.items() if len(column) == len(some)}
                each.add(_raw(clean[self._read[0]], some), columns, places[some])

    def _add_views(
        self, kept: Mapping[str, _Kept], limit: int | None, batch: View, places: Tensor, count: int | None
    ) -> None:
        two = self._two()
        if len(two) != 2 or count == 0:
            return
        if count is not None and not (chosen := places < count).all():
            batch, places = batch.take(chosen), places[chosen]
        if not len(batch):
            return
        drawn = self.pipeline.draw(batch)
        if any(len(drawn[name]) != len(batch) for name in two):
            return  # if the views have other rows than the items, they are not two views of each item
        for name, each in kept.items():
            some = places < (limit or 0) if name == "raw" else places >= 0
            if some.any():
                pair = [self._seen(name, drawn[view], some) for view in two]
                each.add_views((pair[0], pair[1]), places[some])

    def _seen(self, name: str, view: View, some: Tensor) -> Tensor:
        """A random view by the branch, or raw, for some rows."""
        if name == "raw":
            return _raw(view, some)
        return self._encoded(self.encoders[name], dict.fromkeys(self._read, view))

    def _limit(self, view: View, numbers: int, notes: list[str]) -> int | None:
        """The number of raw rows that are kept; None if the raw data are not a table."""
        try:
            dense = isinstance(view.data, Tensor) and not view.data.is_nested
            width = raw(View(view.data[:1] if dense else view.data)).shape[1]
        except NoTable as error:
            notes.append(f"no raw figures: {error}")
            return None
        return max(1, numbers // max(1, width))

    @property
    def _read(self) -> tuple[str, ...]:
        """The views that the branch reads."""
        return self.pipeline.views_of(self._first)

    def _two(self) -> tuple[str, ...]:
        """Two views that the branch's encoder can read: its own, or those of the sampler if there is one encoder."""
        if len(self._read) > 1 or self.pipeline.branches[self._first].represents(self.pipeline.branches) is None:
            return self._read[:2]
        others = [view for other in self._sharing for view in self.pipeline.views_of(other)]
        return tuple(dict.fromkeys([*self._read, *others]))[:2]

    @property
    def _first(self) -> str:
        return self.branch or next(iter(self.pipeline.branches))

    @property
    def _sharing(self) -> list[str]:
        """The branches with this branch's encoder, or with a copy of it."""
        branches = self.pipeline.branches
        own = branches[self._first].tracks or self._first
        return [name for name, each in branches.items() if own in (name, each.tracks)]

    def _encoded(self, encoder: Pipeline, views: Views) -> Tensor:
        return torch.cat(
            [encoder.represent(part, self.branch).float().cpu() for part in in_chunks(views, self._read[0], self.chunk)]
        )


def in_chunks(views: Views, read: str, chunk: int | None = None) -> Iterator[Views]:
    """The views in parts of some rows, such that an encoder needs little memory for each part.

    For images and similar data, the size of an item determines the number of rows. For other data, whose size says
    little about the memory of an encoder, a part has `chunk` rows.
    """
    view = views[read]
    size = rows = len(view)
    if not isinstance(view.data, Tensor) or view.data.is_nested or view.data.dim() > 1:
        size = chunk or rows
    if _is_dense(view.data):
        numbers = view.data.numel() // max(1, rows)
        size = rows if rows * numbers <= _ENCODED // 2 else min(size, max(1, _ENCODED // numbers))
    if rows <= size or any(len(each) != rows for each in views.values()):
        yield views
        return
    for start in range(0, rows, size):
        part = slice(start, start + size)
        if isinstance(views, SameView):
            yield SameView.fromkeys(views, view.take(part))
        else:
            yield {name: each.take(part) for name, each in views.items()}


def _is_dense(data: object) -> bool:
    """Whether the size of the data shows how much memory an encoder needs: not for tokens `[N, L]` or node numbers."""
    if not isinstance(data, Tensor) or data.is_nested:
        return False
    return data.is_floating_point() or data.dim() > 2


def _raw(view: View, some: Tensor) -> Tensor:
    data: Tensor = view.data if some.all() else view.data[some.to(view.data.device)]
    return raw(View(data)).cpu()
