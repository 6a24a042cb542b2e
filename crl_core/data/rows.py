"""The rows of any data: counted, selected, joined, moved to a device, checked for NaN.

The data of a batch may be:
    a tensor `[N, …]`, also a nested one (`torch.jagged`);
    a mapping, or a NamedTuple, of data that all have N rows;
    a list of N raw items: texts, arrays, waveforms of different lengths;
    an object that follows the protocol `Rows`: packed tokens, a batch of graphs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from ..errors import CrlError


@runtime_checkable
class Rows(Protocol):
    """Data that can count, select and join their rows.

    Optional methods: `to(device, non_blocking=False)`, and `finite_rows() -> Tensor | None`, which says which rows
    have no NaN and no infinity, a bool `[N]`; None if this is so for all.
    """

    def row_count(self) -> int: ...

    def take_rows(self, index: Tensor, /) -> Self:
        """The rows with these numbers `[n]`, int64, in this order."""

    def join_rows(self, others: Sequence[Self], /) -> Self:
        """Its own rows, and below them the rows of the others."""


def row_count(data: Any) -> int:
    """The number of rows.

    >>> import torch
    >>> row_count({"ids": torch.zeros(4, 7), "mask": torch.ones(4, 7)})
    4

    Raises:
        CrlError: the parts of a mapping disagree, or nobody knows what is a row of this.
    """
    if isinstance(data, Tensor):
        if not data.dim():
            raise CrlError("a tensor with a single number has no rows")
        return int(data.shape[0])
    if isinstance(data, Rows):
        return data.row_count()
    if isinstance(data, list):
        return len(data)
    return _agreed({name: row_count(value) for name, value in _entries(data).items()})


def take_rows(data: Any, index: Tensor | slice) -> Any:
    """Some rows: those with the numbers `[n]`, those where a bool `[N]` is True, or a slice.

    Raises:
        CrlError: the parts of a mapping disagree, or nobody knows what is a row of this.
    """
    if isinstance(data, Tensor):
        return _of_nested(data, index) if data.is_nested else data[_at(index, data.device)]
    if isinstance(data, Rows):
        return data.take_rows(numbers(index, data.row_count()))
    if isinstance(data, list):
        return [data[number] for number in numbers(index, len(data)).tolist()]
    row_count(data)
    return _rebuilt(data, lambda _, value: take_rows(value, index))


def join_rows(parts: Sequence[Any]) -> Any:
    """The rows of all parts, one below the other.

    Raises:
        CrlError: there are no parts, their types or shapes differ, or a part's type has no rows.
    """
    if not parts:
        raise CrlError("there is nothing to join")
    first, *others = parts
    if isinstance(first, Tensor):
        return _joined(parts)
    if any(type(other) is not type(first) for other in others):
        raise CrlError(f"rows of different kinds can't be joined: {', '.join(type(part).__name__ for part in parts)}")
    if isinstance(first, Rows):
        return first.join_rows(others)
    if isinstance(first, list):
        return [item for part in parts for item in part]
    names = _entries(first).keys()
    if different := [part for part in others if _entries(part).keys() != names]:
        raise CrlError(
            f"mappings with different entries can't be joined: {', '.join(names)} and "
            f"{', '.join(_entries(different[0]))}"
        )
    return _rebuilt(first, lambda name, _: join_rows([_entries(part)[name] for part in parts]))


def move_rows(data: Any, device: torch.device | str, non_blocking: bool = False) -> Any:
    """The data with every tensor on this device."""
    if hasattr(data, "to"):
        return data.to(device, non_blocking=non_blocking)
    if isinstance(data, list | tuple) and not hasattr(data, "_fields"):
        return type(data)(move_rows(value, device, non_blocking) for value in data)
    if isinstance(data, Mapping | tuple):
        return _rebuilt(data, lambda _, value: move_rows(value, device, non_blocking))
    return data


def finite_rows(data: Any) -> Tensor | None:
    """Which rows have no NaN and no infinity, a bool `[N]`; None if this is so for all, or can't be known.

    Raises:
        CrlError: the entries of a mapping have different numbers of rows.
    """
    if isinstance(data, Tensor):
        return _finite(data)
    if (own := getattr(data, "finite_rows", None)) is not None:
        finite: Tensor | None = own()
        return finite
    if isinstance(data, list):
        return _where_not_all(torch.tensor([_is_finite(item) for item in data], dtype=torch.bool))
    if not isinstance(data, Mapping) and not hasattr(data, "_fields"):
        return None
    parts = {name: good for name, value in _entries(data).items() if (good := finite_rows(value)) is not None}
    if not parts:
        return None
    row_count(data)
    return torch.stack(list(parts.values())).all(0)


def numbers(index: Tensor | slice, count: int) -> Tensor:
    """The row numbers `[n]` for an index of any kind into `count` rows."""
    if isinstance(index, slice):
        return torch.arange(*index.indices(count))
    if index.dtype is torch.bool:
        return index.nonzero().squeeze(1)
    return torch.where(index < 0, index + count, index)


# -- mappings and NamedTuples ----------------------------------------------------------------------


def _entries(data: Any) -> Mapping[Any, Any]:
    if isinstance(data, Mapping):
        return data
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return dict(zip(data._fields, data, strict=True))
    hint = ""
    if isinstance(data, tuple):
        hint = " Give items as a list, and data with the same rows as a mapping."
    raise CrlError(
        f"a {type(data).__name__} has no rows.{hint} Data with rows are a tensor, a mapping of tensors, a list of "
        f"items, or an object with row_count, take_rows and join_rows"
    )


def _rebuilt(data: Any, make: Callable[[Any, Any], Any]) -> Any:
    entries = {name: make(name, value) for name, value in _entries(data).items()}
    return entries if isinstance(data, Mapping) else type(data)(**entries)


def _agreed(counts: Mapping[Any, int]) -> int:
    if not counts:
        raise CrlError("an empty mapping has no rows")
    name, count = next(iter(counts.items()))
    for other, its in counts.items():
        if its != count:
            raise CrlError(f"{other!r} has {its} rows, and {name!r} has {count}: all need the same number")
    return count


# -- tensors ---------------------------------------------------------------------------------------


def _at(index: Tensor | slice, device: torch.device) -> Tensor | slice:
    return index if isinstance(index, slice) else index.to(device)


def _joined(parts: Sequence[Any]) -> Tensor:
    first = parts[0]
    if not all(isinstance(part, Tensor) for part in parts):
        raise CrlError(f"rows of different kinds can't be joined: {', '.join(type(part).__name__ for part in parts)}")
    if any(part.is_nested for part in parts):
        return _joined_nested(parts)
    for part in parts:
        if not part.dim() or part.shape[1:] != first.shape[1:]:
            raise CrlError(f"rows of different shapes can't be joined: {list(first.shape)} and {list(part.shape)}")
    return torch.cat(list(parts))


def _finite(data: Tensor) -> Tensor | None:
    values = data.values() if data.is_nested else data
    if not (values.is_floating_point() or values.is_complex()) or not data.dim():
        return None
    good = values.isfinite()
    if good.all():
        return None
    good = good.reshape(len(values), -1).all(1)
    if not data.is_nested:
        return good
    starts, lengths = _stretches(data)
    bad = torch.cat([good.new_zeros(1, dtype=torch.int64), (~good).cumsum(0)])
    return _where_not_all(bad[starts + lengths] == bad[starts])


def _where_not_all(good: Tensor) -> Tensor | None:
    return None if bool(good.all()) else good


def _is_finite(item: Any) -> bool:
    if isinstance(item, Tensor):
        return _finite(item.unsqueeze(0)) is None
    if isinstance(item, np.ndarray):
        return item.dtype.kind not in "fc" or bool(np.isfinite(item).all())
    return not isinstance(item, float) or math.isfinite(item)


def _stretches(data: Tensor) -> tuple[Tensor, Tensor]:
    """Where each row begins in the values of a nested tensor, and how long it is."""
    if data.layout is not torch.jagged or getattr(data, "_ragged_idx", 1) != 1:
        raise CrlError("a nested tensor needs the layout torch.jagged, with rows of different lengths [N, *, …]")
    offsets: Tensor = data.offsets()  # type: ignore[attr-defined]
    lengths: Tensor | None = data.lengths()  # type: ignore[attr-defined]
    return offsets[:-1], offsets.diff() if lengths is None else lengths


def _of_nested(data: Tensor, index: Tensor | slice) -> Tensor:
    starts, lengths = _stretches(data)
    chosen = numbers(index, len(starts)).to(starts.device)
    return _nested(data.values(), starts[chosen], lengths[chosen])


def _nested(values: Tensor, starts: Tensor, lengths: Tensor) -> Tensor:
    """These stretches of the values, as the rows of a nested tensor."""
    offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    of = torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths)
    place = torch.arange(len(of), device=lengths.device) - offsets[of] + starts[of]
    tensor: Tensor = torch.nested.nested_tensor_from_jagged(values[place], offsets)
    return tensor


def _joined_nested(parts: Sequence[Tensor]) -> Tensor:
    if not all(part.is_nested for part in parts):
        raise CrlError("a nested tensor can only be joined to nested tensors")
    values = _joined([part.values() for part in parts])
    stretches = [_stretches(part) for part in parts]
    before = [0]
    for part in parts:
        before.append(before[-1] + len(part.values()))
    starts = torch.cat([start + shift for (start, _), shift in zip(stretches, before[:-1], strict=True)])
    return _nested(values, starts, torch.cat([length for _, length in stretches]))
