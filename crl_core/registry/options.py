"""The options of a part, from the annotations of its `__init__`; and which of them are parts."""

from __future__ import annotations

import inspect
import types
from typing import Any, Union, get_args, get_origin, get_type_hints

import attrs
from torch import nn

from ..contracts.parts import (
    Encoder,
    Head,
    Keys,
    Loss,
    Memory,
    Optimiser,
    Reader,
    Sampler,
    Schedule,
    Score,
    Source,
    Update,
)
from ..errors import SpecError
from ..parts.schedules.scheduled import Scheduled

KIND_OF: dict[Any, str] = {
    Sampler: "sampler", Encoder: "encoder", Head: "head", Score: "score", Loss: "loss", Keys: "keys", Memory: "keys",
    Update: "update", Source: "source", Reader: "reader", Optimiser: "optimiser", Schedule: "schedule",
    Scheduled: "schedule",
}  # fmt: skip


def choices_of(hint: Any) -> tuple[Any, ...]:
    """The types of a union; for another type, this type alone."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def kind_of(hint: Any) -> str | None:
    """The kind of part that an option takes, or None."""
    return next((KIND_OF[choice] for choice in choices_of(hint) if choice in KIND_OF), None)


def signature(cls: Any) -> dict[str, Any]:
    """The options of a part with their types, from the annotations of its `__init__`.

    Raises:
        SpecError: an option is not annotated, or `__init__` takes `*args` or `**kwargs`.
    """
    function = getattr(cls, "__init__") if isinstance(cls, type) else cls  # noqa: B009
    if function in (object.__init__, nn.Module.__init__):
        return {}
    who = f"{cls.__module__}.{cls.__qualname__}" if hasattr(cls, "__qualname__") else repr(cls)
    try:
        parameters = list(inspect.signature(function).parameters.values())[isinstance(cls, type) :]
        hints = get_type_hints(cls if isinstance(cls, type) and attrs.has(cls) else function)
    except Exception as error:  # annotations are code, and can fail in any way
        raise SpecError(f"{who}: can't read its annotations: {type(error).__name__}: {error}") from None
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or parameter.name not in hints:
            raise SpecError(f"{who}: {str(parameter)!r} must be a named option with an annotation")
    described = getattr(cls, "described", None)
    return {each.name: hints[each.name] for each in parameters if described is None or each.name in described}
