"""Launches the Triton programs on queries and one block of keys."""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..data.pairs import Pairs
from ..data.view import Embeddings
from .triton_plan import Plan
from .triton_relations import Ordered, ordered, programs

_WAVES = 2  # programs per multiprocessor, if there are too few rows for that


class Reduced(NamedTuple):
    """The reductions of each row's candidates, and the slopes of the loss for them, `[reductions, rows]`."""

    values: Tensor
    slopes: Tensor


class Sizes(NamedTuple):
    """The size of a tile (rows, columns, and how much of the width is read at a time), and options of the launch."""

    rows: int
    columns: int
    chunk: int
    whole: bool
    warps: int
    stages: int


class Block:
    """Queries and one block of keys, with the relations between them. With `turned`, keys are the rows of the tiles."""

    def __init__(self, pairs: Pairs, keys: Embeddings, plan: Plan, precision: str) -> None:
        self.query, self.key = pairs.query.meta, keys.meta
        self.programs = programs(pairs.positive, pairs.negative, self.query, self.key)
        self.plan, self.precision = plan, precision

    @cached_property
    def _there(self) -> Ordered:
        return ordered(self.programs.atoms, self.query, self.key)

    @cached_property
    def _back(self) -> Ordered:
        return ordered(self.programs.atoms, self.key, self.query)

    def reduce(self, mine: Tensor, other: Tensor, turned: bool) -> Tensor:
        """The reductions of each row's candidates, in parts that have to be merged: `[parts, reductions, n]`."""
        from .triton_kernels import reduce

        (n, width), m = mine.shape, len(other)
        if not n or not m:
            return mine.new_empty(0, len(self.plan.all), n, dtype=torch.float32)
        sizes = reduce_sizes(width, mine.dtype)
        splits, span = _split(n, m, 1, sizes, mine.device)
        out = mine.new_empty(splits, len(self.plan.all), n, dtype=torch.float32)
        with torch.cuda.device_of(mine):
            reduce[-(-n // sizes.rows), splits](
                mine, other, *self._order(turned), out, n, m, span, width, **self._options(sizes)
            )
        return out

    def push(self, mine: Tensor, other: Tensor, my: Reduced | None, others: Reduced | None, turned: bool) -> Tensor:
        """The gradient of the rows, `[n, width]` in float32.

        Args:
            my, others: the reductions of the rows, and those of the columns, for the side that has queries.
        """
        from .triton_kernels import push

        (n, width), m = mine.shape, len(other)
        if not n or not m:
            return torch.zeros_like(mine, dtype=torch.float32)
        sizes, part = push_sizes(width, mine.dtype, mine.device)
        parts = -(-width // part)
        splits, span = _split(n, m, parts, sizes, mine.device)
        out = mine.new_empty(splits, n, width, dtype=torch.float32)
        one: Any = my or others  # Triton needs a pointer even if nothing is read from it
        other_one: Any = others or my
        with torch.cuda.device_of(mine):
            push[-(-n // sizes.rows), parts, splits](
                mine, other, *self._order(turned), *one, *other_one, out, n, m, span, width,
                by_mine=my is not None, by_other=others is not None, part=part, **self._options(sizes),
            )  # fmt: skip
        return out[0] if splits == 1 else out.sum(0)

    def _order(self, turned: bool) -> Ordered:
        return self._back if turned else self._there

    def _options(self, sizes: Sizes) -> dict[str, Any]:
        """The constants for which Triton compiles the programs."""
        atoms, positive, negative = self.programs
        return {
            "atoms": len(atoms),
            "positive": positive,
            "negative": negative,
            "of_positive": tuple((int(kind), scale) for kind, scale in self.plan.positive),
            "of_negative": tuple((int(kind), scale) for kind, scale in self.plan.negative),
            "rows_size": sizes.rows,
            "columns_size": sizes.columns,
            "chunk": sizes.chunk,
            "whole": sizes.whole,
            "precision": self.precision,
            "num_warps": sizes.warps,
            "num_stages": sizes.stages,
        }


# Sizes are fixed, not tuned: a repeated run has to round as before. With these, tiles fit in the registers and the
# shared memory of compute capability 8.0 and later.


def reduce_sizes(width: int, dtype: torch.dtype) -> Sizes:
    chunk = _power(width)
    if dtype == torch.float32:
        return Sizes(64, 64, min(chunk, 32), chunk <= 32, 4, 2)
    return Sizes(128, 64, chunk if chunk <= 128 else 64, chunk <= 128, 8, 3)


def push_sizes(width: int, dtype: torch.dtype, device: torch.device) -> tuple[Sizes, int]:
    """The sizes, and how much of the width one program computes."""
    part = _power(width)
    if dtype == torch.float32:
        part = min(part, 128)
        return Sizes(64, 32, min(part, 32), width <= part <= 32, 8, 2), part
    room = _room(device)
    part = min(part, 512 if room >= 140_000 else 256)
    whole = width <= part and (64 + 2 * 64) * part * 2 + 64 * 64 * 4 <= room
    return Sizes(64, 64, min(part, 64), whole, 8, 2), part


def _power(width: int) -> int:
    """The next power of two, at least the smallest width of a product of tiles."""
    return max(16, 1 << (width - 1).bit_length())


def _room(device: torch.device) -> int:
    """The number of bytes for the tiles of one program."""
    if device.type != "cuda":
        return 1 << 18
    found = torch.cuda.get_device_properties(device)
    # From compute capability 10 on, products keep another copy of a tile.
    return int(found.shared_memory_per_block_optin) - ((1 << 16) if found.major >= 10 else 0)


def _programs(device: torch.device) -> int:
    """How many programs the device can run."""
    if device.type != "cuda":
        return 1
    return _WAVES * torch.cuda.get_device_properties(device).multi_processor_count


def _split(n: int, m: int, parts: int, sizes: Sizes, device: torch.device) -> tuple[int, int]:
    """The number of spans of columns, and their length, if the device has too few rows without splitting."""
    tiles = -(-m // sizes.columns)
    splits = min(tiles, max(1, _programs(device) // (parts * -(-n // sizes.rows))))
    span = -(-tiles // splits) * sizes.columns
    return -(-m // span), span
