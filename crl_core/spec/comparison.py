"""The differences between two methods, from their specs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..method.pipeline import Pipeline
from .assembly import describe
from .spec import PipelineSpec, plain


class Change(NamedTuple):
    """The values at one place of two specs; None if a spec has no such place."""

    place: str
    one: Any
    other: Any

    def __str__(self) -> str:
        return f"{self.place}: {_text(self.one)} → {_text(self.other)}"


class Difference(tuple[Change, ...]):
    """All changes from one spec to another; empty if the two are equal; printed as one line per change."""

    __slots__ = ()

    def __str__(self) -> str:
        return "\n".join(map(str, self)) or "no difference"


def diff(
    one: Pipeline | PipelineSpec | Mapping[str, Any], other: Pipeline | PipelineSpec | Mapping[str, Any]
) -> Difference:
    """The places where two pipelines, specs, or the data of specs differ, in the order of the first.

    A different part is one change. If the part is the same, each different option is a change.

    Raises:
        CrlError: a pipeline has no spec.
    """
    return Difference(_changes(_data(one), _data(other), ""))


def _data(what: Pipeline | PipelineSpec | Mapping[str, Any]) -> Any:
    return plain(describe(what) if isinstance(what, Pipeline) else what)


def _changes(one: Any, other: Any, place: str) -> Iterator[Change]:
    steps = _steps(one, other)
    for step in steps:
        yield from _changes(_at(one, step), _at(other, step), f"{place}.{step}".lstrip("."))
    # True == 1 in Python, but not in a spec.
    if not steps and (one != other or isinstance(one, bool) != isinstance(other, bool)):
        yield Change(place, one, other)


def _steps(one: Any, other: Any) -> list[Any]:
    """The keys below which the comparison goes on; none if the two values are compared as a whole."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        same_part = one.get("use") == other.get("use") and one.get("same_as") == other.get("same_as")
        return list(dict.fromkeys([*one, *other])) if same_part else []
    if isinstance(one, list) and isinstance(other, list) and any(isinstance(item, Mapping) for item in [*one, *other]):
        return list(range(max(len(one), len(other))))
    return []


def _at(data: Any, step: Any) -> Any:
    if isinstance(data, list):
        return data[step] if step < len(data) else None
    return data.get(step)


def _text(value: Any) -> str:
    """A value as text: a part looks like a call of its address."""
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        options = ", ".join(f"{name}={_text(inner)}" for name, inner in value.items() if name not in ("use", "same_as"))
        name = value.get("use") or (f"same as {value['same_as']}" if "same_as" in value else None)
        return f"{{{options}}}" if name is None else f"{name}({options})" if options else str(name)
    return str(value)
