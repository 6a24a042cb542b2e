"""From a pipeline to its spec, and back.

One rule holds for parts and for the classes that hold parts (`Pipeline`, `Branch`, `Contrast`, `Penalty`, `Training`):
options are annotated arguments of `__init__`, kept in attributes of the same names.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Union, get_args, get_origin

import attrs
from torch import nn

from ..data.relation import Relation
from ..errors import CrlError, SpecError, did_you_mean
from ..method.named import NamedModules
from ..method.pipeline import Pipeline
from ..method.places import HOLDERS
from ..parts.schedules.scheduled import Scheduled
from ..registry import address_of, get, make
from ..registry.options import KIND_OF, choices_of, kind_of, signature
from .spec import Part, PipelineSpec, SameAs, convert

STRUCTURES = (Pipeline, *HOLDERS)


def describe(pipeline: Pipeline) -> PipelineSpec:
    """The spec of a pipeline: `assemble(describe(p))` is the same pipeline with new weights.

    Raises:
        CrlError: a part is not registered, or doesn't keep an option in an attribute of the same name.
    """
    return PipelineSpec(options_of(pipeline, "", {}))


def options_of(holder: Any, place: str, seen: dict[int, str]) -> dict[str, Any]:
    """The options of a part or of a holder, as in a spec."""
    cls, options = type(holder), {}
    for name, hint in signature(cls).items():
        if not hasattr(holder, name):
            who = place or cls.__name__
            raise SpecError(
                f"{who}: {cls.__name__} has no attribute {name!r} for its option of this name, so it can't be saved"
            )
        options[name] = _option(getattr(holder, name), hint, _below(place, name), seen)
        if options[name] is None and not (cls in STRUCTURES or _default(cls, name) is None):
            raise SpecError(
                f"{_below(place, name)} is None; only an option with the default None may be None in a spec"
            )
    return options


def part_of(kind: str, part: Any, place: str, seen: dict[int, str] | None = None) -> Any:
    """The `Part` that describes an instance; `SameAs` if the same module is at an earlier place."""
    seen = {} if seen is None else seen
    if isinstance(part, nn.Module):
        if id(part) in seen:
            return SameAs(seen[id(part)])
        seen[id(part)] = place
    try:
        use = address_of(kind, part)
    except CrlError as error:
        raise SpecError(f"{place}: {error}") from None
    return Part(use, options_of(part, place, seen))


def _below(place: str, name: str) -> str:
    return f"{place}.{name}".lstrip(".")


def _option(value: Any, hint: Any, place: str, seen: dict[int, str]) -> Any:
    if isinstance(value, (list, tuple, nn.ModuleList)):
        inner = _inner(hint, value)
        return [_option(item, inner, f"{place}.{i}", seen) for i, item in enumerate(value)]
    if isinstance(value, (Mapping, NamedModules)):
        inner = _inner(hint, value)
        return {name: _option(item, inner, f"{place}.{name}", seen) for name, item in value.items()}
    if value is None or isinstance(value, (bool, int, float, str, Relation)):
        return value
    if isinstance(value, Scheduled):
        return part_of("schedule", value, place, seen)
    if kind := kind_of(hint):
        return part_of(kind, value, place, seen)
    if isinstance(value, STRUCTURES) or attrs.has(type(value)):
        return options_of(value, place, seen)
    raise SpecError(f"{place}: {value!r} is not data and can't be in a spec")


def _holder(hint: Any) -> Any:
    """The holder class of an option, such as Branch, whose options a table in the spec gives; or None."""
    classes = (choice for choice in choices_of(hint) if isinstance(choice, type))
    return next((cls for cls in classes if cls in STRUCTURES or attrs.has(cls)), None)


def _inner(hint: Any, value: Any) -> Any:
    """The type of the elements of an option that is a list or a table."""
    table = isinstance(value, (Mapping, NamedModules))
    wanted, at = ((dict, Mapping), 1) if table else ((list, tuple, Sequence), 0)
    return next((get_args(choice)[at] for choice in choices_of(hint) if get_origin(choice) in wanted), Any)


def _default(cls: Any, name: str) -> Any:
    return inspect.signature(cls).parameters[name].default


def assemble(spec: PipelineSpec | Mapping[str, Any]) -> Pipeline:
    """The pipeline that a spec describes, with new weights.

    Raises:
        CrlError: a key, a value or a part is wrong; the message names the place.
    """
    options = spec.options if isinstance(spec, PipelineSpec) else spec
    pipeline: Pipeline = holder_from(Pipeline, options, "", {})
    return pipeline


def holder_from(cls: Any, data: Any, place: str, parts: dict[str, Any] | None = None) -> Any:
    """An instance of a class that holds parts, such as Branch, from the table of its options."""
    who = place or cls.__name__.lower()
    if not isinstance(data, Mapping):
        raise SpecError(f"{who}: expected a table, not {data!r}")
    hints = signature(cls)
    for name in data:
        if name not in hints:
            raise SpecError(
                f"{who}: there is no {name!r} here; there are {', '.join(hints)}.{did_you_mean(name, hints)}"
            )
    parameters = inspect.signature(cls).parameters
    for name in hints:
        if name not in data and parameters[name].default is inspect.Parameter.empty:
            raise SpecError(f"{who}: {name!r} is missing")
    options = _options(data, hints, place, {} if parts is None else parts)
    try:
        return cls(**options)
    except (CrlError, TypeError, ValueError) as error:  # from the checks in its `__init__`
        raise SpecError(f"{who}: {error}") from error


def _options(data: Mapping[str, Any], hints: Mapping[str, Any], place: str, parts: dict[str, Any]) -> dict[str, Any]:
    # In the order of the options, so that `same_as` comes after the place that it names.
    return {
        name: value_from(data[name], hint, _below(place, name), parts) for name, hint in hints.items() if name in data
    }


@contextmanager
def _at(place: str) -> Iterator[None]:
    """Puts the place in front of crl's errors."""
    try:
        yield
    except CrlError as error:
        raise SpecError(f"{place}: {error}") from error


def part_from(
    kind: str, spec: Part | SameAs | Mapping[str, Any], place: str, made: dict[str, Any] | None = None
) -> Any:
    """The instance that a `Part` describes; `made` has the parts that were made before it, by place."""
    parts = {} if made is None else made
    if isinstance(spec, Mapping):
        return part_from(kind, convert(spec, SameAs if "same_as" in spec else Part, place), place, parts)
    if isinstance(spec, SameAs):
        return _same(kind, spec, place, parts)
    with _at(place):
        cls = get(kind, spec.use)
        hints = signature(cls)
    for name, hint in hints.items():
        if kind_of(hint) == "source" and kind not in ("source", "recipe"):
            raise SpecError(f"{place}.{name}: {spec.use} has a source as an option; it has to use `on_source` instead")
    options_given = _today(cls, spec, place)
    for name in options_given:
        if name not in hints:
            known = f"it has {', '.join(hints)}" if hints else "it has none"
            raise SpecError(f"{place}: {spec.use} has no option {name!r}; {known}.{did_you_mean(name, hints)}")
    options = _options(options_given, hints, place, parts)
    try:
        parts[place] = cls(**options)
    except Exception as error:  # a part checks its options in its own way
        what = "" if isinstance(error, (CrlError, TypeError, ValueError)) else f"{type(error).__name__}: "
        raise SpecError(f"{place}: {spec.use}: {what}{error}") from error
    return parts[place]


def _same(kind: str, spec: SameAs, place: str, parts: Mapping[str, Any]) -> Any:
    if spec.same_as not in parts:
        raise SpecError(
            f"{place}: same_as names {spec.same_as!r}, but there is no part.{did_you_mean(spec.same_as, parts)}"
        )
    part = parts[spec.same_as]
    if not isinstance(part, nn.Module):
        raise SpecError(f"{place}: same_as names {spec.same_as!r}, which has no weights to share")
    with _at(place):
        return make(kind, part)


def _today(cls: Any, spec: Part, place: str) -> dict[str, Any]:
    """Today's options for those of an old spec, by the `renamed` and the `upgrade` of the part's class."""
    renamed: Mapping[str, str] = getattr(cls, "renamed", {})
    options = {renamed.get(name, name): value for name, value in spec.options.items()}
    if (upgrade := getattr(cls, "upgrade", None)) is not None:
        options = upgrade(dict(options))
    if list(options) != list(spec.options):
        gone = ", ".join(name for name in spec.options if name not in options)
        now = ", ".join(name for name in options if name not in spec.options)
        warnings.warn(
            f"{place}: {spec.use} now has {now} for {gone or 'these options'}", DeprecationWarning, stacklevel=3
        )
    return options


def value_from(value: Any, hint: Any, place: str, parts: dict[str, Any] | None = None) -> Any:
    """The value of an option of type `hint`, from data or from a spec."""
    parts = {} if parts is None else parts
    is_part = isinstance(value, (Part, SameAs)) or (
        isinstance(value, Mapping) and bool({"use", "same_as"} & set(value))
    )
    kind = kind_of(hint) or ("schedule" if float in choices_of(hint) else None)
    if kind and is_part:
        return part_from(kind, value, place, parts)
    holder = _holder(hint)
    if isinstance(value, Mapping) and holder is not None:
        return holder_from(holder, value, place, parts)
    if isinstance(value, Relation) or attrs.has(type(value)):
        return value
    inner = _inner(hint, value) if isinstance(value, (list, tuple, Mapping)) else Any
    if kind_of(inner) is not None or _holder(inner) is not None or _holds_spec(value):
        return _many(value, inner, place, parts)
    if kind_of(hint) and value is not None and not _of_data(hint):
        raise SpecError(f'{place}: expected a part of kind {kind}, {{ use = "…" }}, not {value!r}')
    if kind_of(hint) is None or value is None:
        return convert(value, hint, place)
    return convert(value, Union[_of_data(hint)], place)  # noqa: UP007


def _many(value: Any, inner: Any, place: str, parts: dict[str, Any]) -> Any:
    if isinstance(value, Mapping):
        return {name: value_from(item, inner, f"{place}.{name}", parts) for name, item in value.items()}
    return [value_from(item, inner, f"{place}.{i}", parts) for i, item in enumerate(value)]


def _of_data(hint: Any) -> tuple[Any, ...]:
    """The types of an option that are data: no parts, and no classes or names of parts, which only code may give."""
    classes = any(get_origin(one) is type for one in choices_of(hint))
    return tuple(
        one
        for one in choices_of(hint)
        if one not in KIND_OF and get_origin(one) is not type and one is not type(None) and not (classes and one is str)
    )


def _holds_spec(value: Any) -> bool:
    """Whether the values are already objects of a spec, made by `describe`, which need no conversion."""
    values = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    return any(isinstance(each, (Relation, Part, SameAs)) or attrs.has(type(each)) for each in values)
