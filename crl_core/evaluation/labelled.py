"""Items with a label, for evaluators that train or vote by it."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ..engine.loading import without_broken
from ..errors import CrlError
from ..protocols import Items, View


def labelled(items: Items, size: int = 512) -> Iterator[View]:
    """The items with a known label, in order, in batches.

    Raises:
        CrlError: the items have no column `label`, or it is known of none.
    """
    found = 0
    for start in range(0, len(items), size):
        batch = without_broken(items.__getitems__(list(range(start, min(start + size, len(items))))))
        if "label" not in batch.meta:
            raise CrlError(f"this asks for labels, and the items have only {', '.join(batch.meta) or 'no columns'}")
        known = batch.meta["label"] >= 0
        found += int(known.sum())
        if known.all():
            yield batch
        elif known.any():
            yield batch_of(items, (known.nonzero().squeeze(1) + start).tolist())
    if not found:
        raise CrlError(f"not one of {len(items)} items has a label")


def batch_of(items: Items, indices: list[int]) -> View:
    return without_broken(items.__getitems__(indices))


def labels(items: Items) -> tuple[torch.Tensor, torch.Tensor]:
    """The indices `[n]` of the items with a label, and their labels."""
    found = [(batch.meta["instance"], batch.meta["label"]) for batch in labelled(items)]
    index, label = (torch.cat(column) for column in zip(*found, strict=True))
    return index, label
