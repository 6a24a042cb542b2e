"""Rows and numbers from all processes, with gradients for rows."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.nn.functional import all_gather as all_gather_with_gradient

from .data.view import Embeddings


def world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if world_size() > 1 else 0


def gather(table: Embeddings) -> Embeddings:
    """The rows of all processes, in the order of their ranks; gradients flow back to the process of each row.

    Processes may have different numbers of rows.
    """
    if world_size() == 1:
        return table
    sizes = _sizes(len(table), table.z.device)
    meta = {name: _gather(column, sizes) for name, column in sorted(table.meta.items())}
    return Embeddings(_gather(table.z, sizes), meta)


def _sizes(count: int, device: torch.device) -> list[int]:
    """The number of rows on each process; this one has `count`."""
    counts = [torch.zeros((), dtype=torch.int64, device=device) for _ in range(world_size())]
    dist.all_gather(counts, torch.tensor(count, device=device))
    return [int(found) for found in counts]


def _gather(rows: Tensor, sizes: list[int]) -> Tensor:
    # Collectives need equal shapes: rows are padded to the longest share, and the padding is removed afterwards.
    wire = rows.to(torch.uint8) if rows.dtype == torch.bool else rows
    padded = torch.cat([wire, wire.new_zeros(max(sizes) - len(wire), *wire.shape[1:])])
    if rows.requires_grad:
        pieces = list(all_gather_with_gradient(padded))
    else:
        pieces = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(pieces, padded.contiguous())
    return torch.cat([piece[:size] for piece, size in zip(pieces, sizes, strict=True)]).to(rows.dtype)


def total(value: Tensor) -> Tensor:
    """The sum over all processes, without gradient."""
    value = value.detach()
    if world_size() > 1:
        value = value.clone()
        dist.all_reduce(value)
    return value


def objects(value: Any) -> list[Any]:
    """The values of all processes, which are plain data, in the order of their ranks."""
    if world_size() == 1:
        return [value]
    found: list[Any] = [None] * world_size()
    dist.all_gather_object(found, value)
    return found


def everywhere(holds: bool, device: torch.device) -> bool:
    """Whether it holds in all processes."""
    return int(total(torch.tensor(int(not holds), device=device))) == 0


def logsumexp(value: Tensor) -> Tensor:
    """The log of the sum of exp over all processes, without gradient."""
    highest = value.detach().clone().clamp_(min=torch.finfo(value.dtype).min)  # -inf - -inf would be NaN
    if world_size() > 1:
        dist.all_reduce(highest, dist.ReduceOp.MAX)
    return total((value - highest).exp()).log() + highest


def place(count: int, device: torch.device) -> slice:
    """Where the `count` rows of this process are among the rows that `gather` returns."""
    start = sum(_sizes(count, device)[: rank()])
    return slice(start, start + count)


def agreed(value: Tensor) -> Tensor:
    """The value of the first process, on all processes: for random numbers that must be the same everywhere."""
    if world_size() > 1:
        value = value.contiguous()
        dist.broadcast(value, 0)
    return value
