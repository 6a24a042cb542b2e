"""Data of any structure: tensors in mappings, lists, views and tables."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor

from ..data.pairs import Summed
from ..data.rows import Rows
from ..data.view import Embeddings, View
from .outcome import Skips


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Every tensor, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, View):
        yield from tensors_in([value.data, value.meta])
    elif isinstance(value, Embeddings):
        yield from tensors_in([value.z, value.features])
    elif isinstance(value, Summed):
        yield from value
    elif isinstance(value, Mapping):
        for name in value:
            yield from tensors_in(value[name])
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors_in(item)
    elif _is_table(value):
        yield from tensors_in(_fields(value))
    elif hasattr(value, "to_dict"):  # a graph
        yield from tensors_in(value.to_dict())


def mapped(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """The same data with every tensor passed through `function`."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, View):
        return View(mapped(function, value.data), mapped(function, value.meta))
    if isinstance(value, Embeddings):
        return Embeddings(function(value.z), mapped(function, value.meta), mapped(function, value.features))
    if isinstance(value, Mapping):
        return {name: mapped(function, inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(mapped(function, item) for item in value)
    if _is_table(value):
        return attrs.evolve(value, **mapped(function, _fields(value)))
    if hasattr(value, "to_dict") and hasattr(value, "apply"):  # a graph
        return copy.copy(value).apply(lambda inner: mapped(function, inner))
    return value


def cut(value: Any, rows: Sequence[int], count: int) -> Any:
    """These rows, in this order, of data with `count` rows.

    Raises:
        Skips: there is no general way to select rows of such data.
    """
    if isinstance(value, View):
        return View(cut(value.data, rows, count), cut(value.meta, rows, count))
    if isinstance(value, Embeddings):
        columns = cut(value.meta, rows, count), cut(value.features, rows, count)
        return Embeddings(cut(value.z, rows, count), *columns)
    if isinstance(value, Tensor) and value.dim() and len(value) == count:
        return value[torch.tensor(rows, dtype=torch.int64)]
    if isinstance(value, Rows) and value.row_count() == count:
        return value.take_rows(torch.tensor(rows, dtype=torch.int64))
    if isinstance(value, Mapping):
        return {name: cut(inner, rows, count) for name, inner in value.items()}
    if isinstance(value, (list, tuple)) and len(value) == count and not any(isinstance(v, Tensor) for v in value):
        return type(value)(value[row] for row in rows)
    if isinstance(value, (list, tuple)):
        return type(value)(cut(inner, rows, count) for inner in value)
    raise Skips(f"there is no general way to select rows of a {type(value).__name__}: give an example with `Items`")


def _is_table(value: Any) -> bool:
    """Whether it is rows of a type of its own, such as packed tokens, whose fields can be seen."""
    return attrs.has(type(value)) and isinstance(value, Rows)


def _fields(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in attrs.fields(type(value))}


def as_double(value: Any) -> Any:
    """The same data with every floating tensor in float64."""
    return mapped(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor, value)
