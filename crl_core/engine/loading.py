"""Which items come in which step: settled by the seed alone, so that a run can go on from any step."""

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
    """The indices of every step of an epoch.

    Items that don't fill a last batch wait for another epoch; items fewer than a batch are one batch.
    """
    generator = torch.Generator().manual_seed(training.seed * 1_000_003 + epoch)
    if isinstance(items, OrdersItself):
        return items.batches(training.batch_size, generator)
    if not len(items):
        raise CrlError("the source has no items")
    order = torch.randperm(len(items), generator=generator)
    return ordered(order, min(training.batch_size, len(order)))


def steps_in_epoch(items: Items | Stream, training: Training) -> int:
    """How many steps an epoch has: as many as the items fill, or fewer if the training says so; of a stream, it has to.

    Raises:
        CrlError: the items are a stream, and the training doesn't say.
    """
    if isinstance(items, Stream):
        if training.steps is None:
            raise CrlError("these items are a stream, whose epochs have no end: set `steps`, those of an epoch")
        return training.steps
    if isinstance(items, OrdersItself):
        there = len(batches_of(items, training, 0))
    else:
        there = len(items) // max(1, min(training.batch_size, len(items)))
    return there if training.steps is None else min(there, training.steps)


def loaded(
    items: Items | Stream, training: Training, epoch: int, begun: int, place: Any, rank: int, world: int
) -> Iterator[tuple[View | None, Any]]:
    """The batches of this process that are left of an epoch, each with the place in the stream after it.

    None stands for a batch of which nothing can be used; ordinary items have the place None.

    Of a stream, each of w workers reads a share of its own, as if it were one of w times as many processes; their
    batches come in turn. So files are read once, and the place says where every worker is and whose turn it is: no
    matter how many batches are loaded ahead, a run goes on with the one that follows the last that was trained on.
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
        collate_fn=_as_they_are,
        generator=torch.Generator().manual_seed(training.seed),
    )
    for batch, worker, after in loader:
        places = list(place["workers"])
        places[worker] = after
        place = {"workers": places, "turn": (worker + 1) % workers}
        yield batch, place


class _Share(IterableDataset[Any]):
    """What one worker reads of a stream: batches, whose they are, and the places after them."""

    def __init__(self, stream: Stream, size: int, place: Any, seed: int, rank: int, world: int) -> None:
        self.stream, self.size, self.place, self.seed, self.rank, self.world = stream, size, place, seed, rank, world

    def __iter__(self) -> Iterator[tuple[View, int, Any]]:
        info = get_worker_info()
        assert info is not None
        workers = info.num_workers
        # The loader begins with its first worker, which takes the turn.
        mine = (self.place["turn"] + info.id) % workers
        place, rank = self.place["workers"][mine], self.rank * workers + mine
        for batch, after in self.stream.batches_from(self.size, place, self.seed, rank, self.world * workers):
            yield batch, mine, after


def in_order(items: Items | Stream, size: int) -> Iterator[View]:
    """All items that can be used, in batches.

    Raises:
        CrlError: they are a stream, which has no end.
    """
    if isinstance(items, Stream):
        raise CrlError("a stream has no table of all its items: clusters and prototypes need items with a length")
    for part in items.apart() if hasattr(items, "apart") else [items]:
        for start in range(0, len(part), size):
            found = without_broken(part.__getitems__(list(range(start, min(start + size, len(part))))))
            if len(found):
                yield found


OF_STREAM = 10_000  # items of a stream that are looked at where a table is made of all items


def some_of(items: Items | Stream, size: int) -> Iterator[View]:
    """All items that can be used, in batches, in order; of a stream, its first ten thousand."""
    if not isinstance(items, Stream):
        yield from in_order(items, size)
        return
    size = min(size, OF_STREAM)
    for batch, _ in itertools.islice(items.batches_from(size, None, 0, 0, 1), OF_STREAM // size):
        kept = without_broken(batch)
        if len(kept):
            yield kept


def as_items(items: Items | Stream) -> Items:
    """The items; of a stream, its first ten thousand in memory, with their places among these as `instance`."""
    if not isinstance(items, Stream):
        return items
    found = View.join(list(some_of(items, 500)))
    return InMemory(found.data, {name: column for name, column in found.meta.items() if name != "instance"})


def first_of(items: Items | Stream, training: Training) -> View:
    """The first batch with items that can be used.

    Raises:
        CrlError: there is none.
    """
    if isinstance(items, Stream):
        return next(iter(items.batches_from(training.batch_size, None, training.seed, 0, 1)))[0]
    for indices in batches_of(items, training, epoch=0):
        found = without_broken(items.__getitems__(_listed(indices)))
        if len(found):
            return found
    raise CrlError("the source has no items that can be used; the log says what is wrong with them")


def load(items: Items, batches: Batches, training: Training) -> Iterator[View | None]:
    """These batches, in order, without the items that hold NaN or infinity; None where none is left."""
    loader: DataLoader[Any] = DataLoader(
        cast("Dataset[Any]", items),
        batch_sampler=_Lists(batches),
        num_workers=training.workers,
        collate_fn=_as_they_are,
        pin_memory=False,
        # Not from the global generator: what augmentation draws must not depend on the workers.
        generator=torch.Generator().manual_seed(training.seed),
    )
    for batch in loader:
        kept = without_broken(batch)
        yield kept if len(kept) else None


def without_broken(batch: View) -> View:
    """The batch without the items whose data hold NaN or infinity."""
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
        return map(_listed, self._batches)


def _listed(indices: Sequence[int] | Tensor) -> list[int]:
    found: list[int] = indices.tolist() if isinstance(indices, Tensor) else list(indices)
    return found


def _as_they_are(batch: Any) -> Any:
    # `__getitems__` has made a batch already.
    return batch
