"""Splits a batch into micro-batches, and joins their losses."""

from __future__ import annotations

import torch

from ..data.view import View
from ..method.objective import Losses


def cut(batch: View, parts: int) -> list[View]:
    """The batch in so many micro-batches; fewer if it has fewer items."""
    if parts == 1:
        return [batch]
    size = -(-len(batch) // parts)
    return [batch.take(slice(start, start + size)) for start in range(0, len(batch), size)]


def mean_of(parts: list[tuple[float, Losses]]) -> Losses:
    """The mean of the losses of micro-batches; the embeddings are those of the last one."""
    if len(parts) == 1:
        return parts[0][1]
    total = torch.stack([share * losses.total.detach() for share, losses in parts]).sum()
    names = dict.fromkeys(name for _, losses in parts for name in losses.terms)
    terms = {
        name: torch.stack([share * losses.terms[name] for share, losses in parts if name in losses.terms]).sum()
        for name in names
    }
    ignored = {
        name: torch.stack([losses.ignored[name] for _, losses in parts if name in losses.ignored]).sum()
        for name in parts[-1][1].ignored
    }
    return Losses(total, terms, ignored, parts[-1][1].embeddings)
