"""Batches by the weights of items, and by their costs."""

from __future__ import annotations

import heapq
import logging
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..distributed import world_size
from ..errors import CrlError
from .order import Order, ordered

log = logging.getLogger("crl")

_MOST_CATEGORIES = 2**24  # categories that torch.multinomial can draw from


def by_weight(weights: Tensor, batch_size: int, generator: torch.Generator) -> Order:
    """Batches of items drawn at random with replacement, in proportion to their weights `[N]`; N items in all.

    >>> import torch
    >>> list(by_weight(torch.tensor([0.0, 1.0, 0.0, 0.0]), 2, torch.Generator()))
    [[1, 1], [1, 1]]

    Raises:
        CrlError: a weight is negative or NaN, or none is positive.
    """
    weights = weights.double()
    if not weights.isfinite().all() or (weights < 0).any():
        raise CrlError("a weight is a finite number, at least 0")
    if not weights.any():
        raise CrlError("no item has a weight above 0")
    size = min(batch_size, len(weights))
    count = len(weights) // size * size
    if len(weights) <= _MOST_CATEGORIES:
        drawn = torch.multinomial(weights, count, replacement=True, generator=generator)
    else:
        total = weights.cumsum(0)
        point = torch.rand(count, generator=generator, dtype=torch.float64) * total[-1]
        drawn = torch.searchsorted(total, point, right=True)
    return ordered(drawn, size)


def by_cost(
    costs: Tensor,
    limit: float,
    generator: torch.Generator,
    world: int | None = None,
    too_dear: Literal["error", "skip"] = "error",
) -> Order:
    """Batches of items whose costs `[N]` (tokens, seconds) sum to at most `limit` on each process.

    All processes have the same number of batches. The cost of a batch on a process is less than `limit` by at most the
    cost of the most expensive item. Items that don't fill the last batch are left for another epoch; if all items don't
    fill one, they are one batch.

    Args:
        costs: the cost of each item, `[N]`.
        limit: the highest cost of a batch on one process.
        world: the number of processes; by default, those that run.
        too_dear: what happens to an item that costs more than `limit`: it is an error, or left out and counted in the
            log.

    >>> import torch
    >>> sorted(map(len, by_cost(torch.tensor([3, 3, 3, 3, 3, 3]), 7, torch.Generator())))
    [2, 2, 2]

    Raises:
        CrlError: a cost is negative or NaN, an item costs more than the limit, or there are too few items.
    """
    world = world_size() if world is None else world
    costs = costs.double() if costs.is_floating_point() else costs.long()
    if not costs.isfinite().all() or (costs < 0).any():
        raise CrlError("a cost is a finite number, at least 0")
    order = torch.randperm(len(costs), generator=generator)
    dear = costs > limit
    if bool(dear.any()):
        which = dear.nonzero().flatten()[:10].tolist()
        if too_dear == "error":
            raise CrlError(f"{int(dear.sum())} items cost more than the limit of {limit}: {which}")
        log.warning("%d items cost more than the limit of %s and were left out: %s", int(dear.sum()), limit, which)
        order = order[~dear[order]]
    starts = _stretches(costs[order], limit)
    full = (len(starts) - 1) // world * world
    return Order(order, starts[: full + 1], parts=world) if full else _one_batch(order, costs[order], limit, world)


def _stretches(costs: Tensor, limit: float) -> Tensor:
    """Where to cut the items, `[P + 1]`: each piece costs at most `limit`, and is within the highest cost of it."""
    total = costs.cumsum(0).numpy()
    if not len(total):
        return torch.zeros(1, dtype=torch.int64)
    starts, before, dearest = [0], 0, costs.max().item()
    while starts[-1] < len(total):
        end = int(np.searchsorted(total, before + limit, side="right"))
        if total[end - 1] - before + dearest <= limit:
            break  # the last piece, which isn't full
        starts.append(end)
        before = total[end - 1]
    return torch.tensor(starts)


def _one_batch(order: Tensor, costs: Tensor, limit: float, world: int) -> Order:
    """All items as one batch: the most expensive first, each to the process with the lowest cost so far.

    Raises:
        CrlError: there are too few items.
    """
    heap: list[tuple[float, int]] = [(0, rank) for rank in range(world)]
    parts: list[list[int]] = [[] for _ in range(world)]
    for place in costs.argsort(descending=True).tolist():
        cost, rank = heap[0]
        heapq.heapreplace(heap, (cost + costs[place].item(), rank))
        parts[rank].append(place)
    if not all(parts) or max(heap)[0] > limit:
        raise CrlError(
            f"{len(order)} items can't be divided among {world} processes with costs of at most {limit} for each"
        )
    starts = torch.tensor([0, *map(len, parts)]).cumsum(0)
    return Order(order[torch.tensor([place for part in parts for place in part])], starts, parts=world)
