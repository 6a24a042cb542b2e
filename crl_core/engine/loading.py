"""Which items come in which step: settled by the seed alone, so that a run can go on from any step."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..errors import CrlError
from ..protocols import Items, OrdersItself, View
from .training import Training

log = logging.getLogger("crl")


def batches_of(items: Items, training: Training, epoch: int) -> list[list[int]]:
    """The indices of every step of an epoch.

    Items that don't fill a last batch wait for another epoch; items fewer than a batch are one batch.
    """
    generator = torch.Generator().manual_seed(training.seed * 1_000_003 + epoch)
    if isinstance(items, OrdersItself):
        return items.batches(training.batch_size, generator)
    if not len(items):
        raise CrlError("the source has no items")
    order: list[int] = torch.randperm(len(items), generator=generator).tolist()
    size = min(training.batch_size, len(order))
    return [order[start : start + size] for start in range(0, len(order) - size + 1, size)]


def first_of(items: Items, batches: list[list[int]]) -> View:
    """The first batch with items that can be used.

    Raises:
        CrlError: there is none.
    """
    for indices in batches:
        found = without_broken(items.__getitems__(indices))
        if len(found):
            return found
    raise CrlError("the source has no items that can be used; the log says what is wrong with them")


def load(items: Items, batches: list[list[int]], training: Training) -> Iterator[View | None]:
    """These batches, in order, without the items that hold NaN or infinity; None where none is left."""
    loader: DataLoader[Any] = DataLoader(
        cast("Dataset[Any]", items),
        batch_sampler=batches,
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
    if not (isinstance(batch.data, Tensor) and batch.data.is_floating_point()):
        return batch
    good = batch.data.isfinite().flatten(1).all(1)
    if good.all():
        return batch
    which = batch.meta["instance"][~good].tolist() if "instance" in batch.meta else []
    log.warning("%d items with NaN or infinity were left out: instances %s", int((~good).sum()), which[:10])
    return View(batch.data[good], {name: column[good] for name, column in batch.meta.items()})


def _as_they_are(batch: Any) -> Any:
    # `__getitems__` has made a batch already.
    return batch
