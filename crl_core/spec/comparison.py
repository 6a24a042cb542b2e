"""Where two methods differ, read off their specs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..method.pipeline import Pipeline
from .assembly import describe
from .spec import PipelineSpec, plain


class Change(NamedTuple):
    """What stands at one place of two specs; None where there is nothing."""

    place: str
    one: Any
    other: Any

    def __str__(self) -> str:
        return f"{self.place}: {_text(self.one)} → {_text(self.other)}"


class Difference(tuple[Change, ...]):
    """All changes from one spec to another, empty where they say the same; as text, a line for each."""

    __slots__ = ()

    def __str__(self) -> str:
        return "\n".join(map(str, self)) or "no difference"


def diff(
    one: Pipeline | PipelineSpec | Mapping[str, Any], other: Pipeline | PipelineSpec | Mapping[str, Any]
) -> Difference:
    """The places where two pipelines, specs, or specs' data differ, in the order of the first.

    A part that is another one is a single change; of the same part, each option that differs is one.

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
    # True is 1 in Python, and is not in a spec.
    if not steps and (one != other or isinstance(one, bool) != isinstance(other, bool)):
        yield Change(place, one, other)


def _steps(one: Any, other: Any) -> list[Any]:
    """The ways down on which to go on comparing; none where the two are to be compared as they are."""
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
    """A value as one would write it: a part as a call of its address."""
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        told = ", ".join(f"{name}={_text(inner)}" for name, inner in value.items() if name not in ("use", "same_as"))
        name = value.get("use") or (f"same as {value['same_as']}" if "same_as" in value else None)
        return f"{{{told}}}" if name is None else f"{name}({told})" if told else str(name)
    return str(value)
