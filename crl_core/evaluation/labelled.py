"""Items with a label, for evaluators that use labels."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ..contracts.parts import Items
from ..data.view import View
from ..engine.loading import without_broken
from ..errors import CrlError
from .tables import in_batches


def labelled(items: Items, size: int = 512) -> Iterator[View]:
    """The items with a known label, in order, in batches.

    Raises:
        CrlError: the items have no column `label`, or no item has a known label.
    """
    found = 0
    for batch in in_batches(items, size):
        if "label" not in batch.meta:
            raise CrlError(f"labels are needed, but the items have only {', '.join(batch.meta) or 'no columns'}")
        known = batch.meta["label"] >= 0
        found += int(known.sum())
        if known.all():
            yield batch
        elif known.any():
            yield _rows(items, batch, known)
    if not found:
        raise CrlError(f"none of the {len(items)} items has a label")


def _rows(items: Items, batch: View, known: torch.Tensor) -> View:
    try:
        return batch.take(known)
    except CrlError:  # rows of such data can't be selected, so the items are read again
        return batch_of(items, batch.meta["instance"][known].tolist())


def batch_of(items: Items, indices: list[int]) -> View:
    return without_broken(items.__getitems__(indices))


def labels(items: Items) -> tuple[torch.Tensor, torch.Tensor]:
    """The indices `[n]` of the items with a label, and their labels."""
    found = [(batch.meta["instance"], batch.meta["label"]) for batch in labelled(items)]
    index, label = (torch.cat(column) for column in zip(*found, strict=True))
    return index, label
