"""Loads the batches of an epoch. Their order depends only on the seed, so that a run can resume at any step."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from ..contracts.parts import Items, OrdersItself, Stream
from ..data.rows import finite_rows
from ..data.view import View
from ..errors import CrlError
from ..items.in_memory import InMemory
from ..items.order import ordered, share_of
from .training import Training

log = logging.getLogger("crl")

Batches: TypeAlias = Sequence[Sequence[int] | Tensor]


def batches_of(items: Items, training: Training, epoch: int) -> Batches:
    """The indices of the items in each step of an epoch.

    Items that don't fill a last batch are left for another epoch. If all items don't fill a batch, they are one batch.
    """
    generator = torch.Generator().manual_seed(training.seed * 1_000_003 + epoch)
    if isinstance(items, OrdersItself):
        return items.batches(training.batch_size, generator)
    if not len(items):
        raise CrlError("the source has no items")
    order = torch.randperm(len(items), generator=generator)
    return ordered(order, min(training.batch_size, len(order)))


def steps_in_epoch(items: Items | Stream, training: Training) -> int:
    """The number of steps in an epoch: all full batches, at most `training.steps`; for a stream, `training.steps`.

    Raises:
        CrlError: the items are a stream, and `training.steps` is None.
    """
    if isinstance(items, Stream):
        if training.steps is None:
            raise CrlError("the items are a stream, which has no end: set `steps`, the length of an epoch")
        return training.steps
    if isinstance(items, OrdersItself):
        there = len(batches_of(items, training, 0))
    else:
        there = len(items) // max(1, min(training.batch_size, len(items)))
    return there if training.steps is None else min(there, training.steps)


def loaded(
    items: Items | Stream, training: Training, epoch: int, begun: int, place: Any, rank: int, world: int
) -> Iterator[tuple[View | None, Any]]:
    """This process's batches in the rest of an epoch, each with the place in the stream after it.

    A batch is None if none of its items can be used. Items that are not a stream have the place None.

    Each of w workers reads its own share of a stream, as if there were w times as many processes, and their batches
    come in turn. So each file is read once. The place says where each worker is, and whose turn it is. A resumed run
    continues after the last batch that was trained on, whatever had been loaded ahead.
    """
    if not isinstance(items, Stream):
        batches = share_of(batches_of(items, training, epoch)[begun : training.steps], rank, world)
        yield from ((batch, None) for batch in load(items, batches, training))
        return
    left = steps_in_epoch(items, training) - begun
    for batch, after in itertools.islice(_streamed(items, training, place, rank, world), left):
        kept = without_broken(batch)
        yield (kept if len(kept) else None), after


def _streamed(stream: Stream, training: Training, place: Any, rank: int, world: int) -> Iterator[tuple[View, Any]]:
    size, workers = training.batch_size // world, training.workers
    if not workers:
        yield from stream.batches_from(size, place, training.seed, rank, world)
        return
    place = place or {"workers": [None] * workers, "turn": 0}
    loader: DataLoader[Any] = DataLoader(
        _Share(stream, size, place, training.seed, rank, world),
        batch_size=None,
        num_workers=workers,
        collate_fn=_unchanged,
        generator=torch.Generator().manual_seed(training.seed),
    )
    for batch, worker, after in loader:
        places = list(place["workers"])
        places[worker] = after
        place = {"workers": places, "turn": (worker + 1) % workers}
        yield batch, place


class _Share(IterableDataset[Any]):
    """One worker's share of a stream: batches, the number of the worker, and the places after the batches."""

    def __init__(self, stream: Stream, size: int, place: Any, seed: int, rank: int, world: int) -> None:
        self.stream, self.size, self.place, self.seed, self.rank, self.world = stream, size, place, seed, rank, world

    def __iter__(self) -> Iterator[tuple[View, int, Any]]:
        info = get_worker_info()
        assert info is not None
        workers = info.num_workers
        # The loader begins with its first worker, so that one gets the share whose turn it is.
        mine = (self.place["turn"] + info.id) % workers
        place, rank = self.place["workers"][mine], self.rank * workers + mine
        for batch, after in self.stream.batches_from(self.size, place, self.seed, rank, self.world * workers):
            yield batch, mine, after


def in_order(items: Items | Stream, size: int) -> Iterator[View]:
    """All items that can be used, in batches, in order.

    Raises:
        CrlError: the items are a stream, which has no end.
    """
    if isinstance(items, Stream):
        raise CrlError("a stream has no table of all its items: clusters and prototypes need items with a length")
    for part in items.apart() if hasattr(items, "apart") else [items]:
        for start in range(0, len(part), size):
            batch = without_broken(part.__getitems__(list(range(start, min(start + size, len(part))))))
            if len(batch):
                yield batch


OF_STREAM = 10_000  # items of a stream that are used where a table of all items is needed


def some_of(items: Items | Stream, size: int) -> Iterator[View]:
    """All items that can be used, in batches, in order; for a stream, its first ten thousand."""
    if not isinstance(items, Stream):
        yield from in_order(items, size)
        return
    size = min(size, OF_STREAM)
    for batch, _ in itertools.islice(items.batches_from(size, None, 0, 0, 1), OF_STREAM // size):
        kept = without_broken(batch)
        if len(kept):
            yield kept


def as_items(items: Items | Stream) -> Items:
    """The items; for a stream, its first ten thousand in memory, whose `instance` counts from 0."""
    if not isinstance(items, Stream):
        return items
    batch = View.join(list(some_of(items, 500)))
    return InMemory(batch.data, {name: column for name, column in batch.meta.items() if name != "instance"})


def first_of(items: Items | Stream, training: Training) -> View:
    """The first batch with items that can be used.

    Raises:
        CrlError: there are no such items.
    """
    if isinstance(items, Stream):
        return next(iter(items.batches_from(training.batch_size, None, training.seed, 0, 1)))[0]
    for indices in batches_of(items, training, epoch=0):
        batch = without_broken(items.__getitems__(_as_list(indices)))
        if len(batch):
            return batch
    raise CrlError("the source has no items that can be used; the log has the reasons")


def load(items: Items, batches: Batches, training: Training) -> Iterator[View | None]:
    """These batches, in order, without items that have NaN or infinity; None instead of an empty batch."""
    loader: DataLoader[Any] = DataLoader(
        cast("Dataset[Any]", items),
        batch_sampler=_Lists(batches),
        num_workers=training.workers,
        collate_fn=_unchanged,
        pin_memory=False,
        # Not the global generator, because augmentation must not depend on the number of workers.
        generator=torch.Generator().manual_seed(training.seed),
    )
    for batch in loader:
        kept = without_broken(batch)
        yield kept if len(kept) else None


def without_broken(batch: View) -> View:
    """The batch without items whose data have NaN or infinity."""
    good = finite_rows(batch.data)
    if good is None:
        return batch
    which = batch.meta["instance"][~good].tolist() if "instance" in batch.meta else []
    log.warning("%d items with NaN or infinity were left out: instances %s", int((~good).sum()), which[:10])
    return batch.take(good)


class _Lists:
    """Batches as lists of indices, one at a time."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[int]]:
        return map(_as_list, self._batches)


def _as_list(indices: Sequence[int] | Tensor) -> list[int]:
    numbers: list[int] = indices.tolist() if isinstance(indices, Tensor) else list(indices)
    return numbers


def _unchanged(batch: Any) -> Any:
    # `__getitems__` has already made a batch.
    return batch
