"""Which items come in which step: settled by the seed alone, so that a run can go on from any step."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..errors import CrlError
from ..items.order import ordered
from ..protocols import Items, OrdersItself, View
from ..rows import finite_rows
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


def first_of(items: Items, batches: Batches) -> View:
    """The first batch with items that can be used.

    Raises:
        CrlError: there is none.
    """
    for indices in batches:
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
