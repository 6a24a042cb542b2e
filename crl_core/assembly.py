"""From a pipeline to its spec, and back."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Union, get_args, get_origin, get_type_hints

import attrs
from torch import nn

from .branch import Branch
from .contrast import Contrast
from .errors import CrlError, did_you_mean
from .named import Named
from .pipeline import Penalty, Pipeline
from .protocols import Encoder, Head, Loss, Memory, Sampler, Score, Source, Update
from .registry import address_of, get, known, make
from .registry.plugins import LOCAL, advertised_hooks, core_version
from .relation import Relation
from .spec import BranchSpec, ContrastSpec, Part, PenaltySpec, PipelineSpec, SameAs, SpecError, convert

KIND_OF: dict[Any, str] = {
    Sampler: "sampler", Encoder: "encoder", Head: "head", Score: "score", Loss: "loss", Memory: "memory",
    Update: "update", Source: "source",
}  # fmt: skip


def describe(pipeline: Pipeline) -> PipelineSpec:
    """The spec of a pipeline: `assemble(describe(p))` is the same pipeline with fresh weights.

    Raises:
        CrlError: a part is not registered, or keeps an option elsewhere than under its name.
    """
    seen: dict[int, str] = {}
    return PipelineSpec(
        sampler=part_of("sampler", pipeline.sampler, "sampler", seen),
        branches={name: _branch(branch, f"branches.{name}", seen) for name, branch in pipeline.branches.items()},
        contrasts=[_contrast(part, f"contrasts.{i}", seen) for i, part in enumerate(pipeline.contrasts)],
        penalties=[
            PenaltySpec(
                branch=part.branch,
                loss=part_of("loss", part.loss, f"penalties.{i}.loss", seen),
                weight=part.weight,
                name=part.name,
            )
            for i, part in enumerate(pipeline.penalties)
        ],
    )


def _branch(branch: Branch, place: str, seen: dict[int, str]) -> BranchSpec:
    encoder: Any = branch.encoder
    if isinstance(encoder, Named):
        encoder = {name: part_of("encoder", e, f"{place}.encoder.{name}", seen) for name, e in encoder.items()}
    elif encoder is not None:
        encoder = part_of("encoder", encoder, f"{place}.encoder", seen)
    return BranchSpec(
        view=list(branch.view) if isinstance(branch.view, tuple) else branch.view,
        encoder=encoder,
        head=None if branch.head is None else part_of("head", branch.head, f"{place}.head", seen),
        tracks=branch.tracks,
        tap=branch.tap,
        update=part_of("update", branch.update, f"{place}.update", seen),
    )


def _contrast(contrast: Contrast, place: str, seen: dict[int, str]) -> ContrastSpec:
    return ContrastSpec(
        query=list(contrast.query) if isinstance(contrast.query, tuple) else contrast.query,
        key=list(contrast.key) if isinstance(contrast.key, tuple) else contrast.key,
        positive=contrast.positive,
        negative=contrast.negative,
        draw=contrast.draw,
        draw_by=contrast.draw_by,
        per_query=contrast.per_query,
        symmetric=contrast.symmetric,
        weight=contrast.weight,
        kernel=contrast.kernel,
        name=contrast.name,
        **{
            kind: part_of(kind, getattr(contrast, kind), f"{place}.{kind}", seen)
            for kind in ("score", "loss", "memory")
        },
    )


def part_of(kind: str, part: Any, place: str, seen: dict[int, str] | None = None) -> Any:
    """The `Part` that describes an instance; `SameAs` where the same module stands at an earlier place."""
    seen = {} if seen is None else seen
    if isinstance(part, nn.Module):
        if id(part) in seen:
            return SameAs(seen[id(part)])
        seen[id(part)] = place
    try:
        use = address_of(kind, part)
    except CrlError as error:
        raise SpecError(f"{place}: {error}") from None
    options = {}
    for name, hint in signature(type(part)).items():
        if not hasattr(part, name):
            raise SpecError(
                f"{place}: {use} keeps no attribute {name!r} for its option of that name: no spec can be made"
            )
        options[name] = _option(getattr(part, name), hint, f"{place}.{name}", seen)
        if options[name] is None and _default(type(part), name) is not None:
            raise SpecError(f"{place}.{name} is None, which a spec can write only where None is the default")
    return Part(use, options)


def _option(value: Any, hint: Any, place: str, seen: dict[int, str]) -> Any:
    if isinstance(value, (list, tuple)):
        inner = _inner(hint, value)
        return [_option(item, inner, f"{place}.{i}", seen) for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        inner = _inner(hint, value)
        return {name: _option(item, inner, f"{place}.{name}", seen) for name, item in value.items()}
    if value is None or isinstance(value, (bool, int, float, str, Relation)):
        return value
    if kind := _kind(hint):
        return part_of(kind, value, place, seen)
    if attrs.has(type(value)):
        return value
    raise SpecError(f"{place}: {value!r} is no data and can't stand in a spec")


def _choices(hint: Any) -> tuple[Any, ...]:
    """The types of a union; a type alone otherwise."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _kind(hint: Any) -> str | None:
    """The kind of part that an option takes, if it takes one."""
    return next((KIND_OF[choice] for choice in _choices(hint) if choice in KIND_OF), None)


def _inner(hint: Any, value: Any) -> Any:
    """What stands in a list, or in a table, that an option takes."""
    wanted, at = ((dict, Mapping), 1) if isinstance(value, Mapping) else ((list, tuple, Sequence), 0)
    return next((get_args(choice)[at] for choice in _choices(hint) if get_origin(choice) in wanted), Any)


def signature(cls: Any) -> dict[str, Any]:
    """The options of a part with their types, from the annotations of its `__init__`.

    Raises:
        SpecError: one is not annotated, or it takes `*args` or `**kwargs`.
    """
    function = getattr(cls, "__init__") if isinstance(cls, type) else cls  # noqa: B009
    if function in (object.__init__, nn.Module.__init__):
        return {}
    who = f"{cls.__module__}.{cls.__qualname__}" if hasattr(cls, "__qualname__") else repr(cls)
    try:
        parameters = list(inspect.signature(function).parameters.values())[isinstance(cls, type) :]
        hints = get_type_hints(function)
    except Exception as error:  # annotations are code, and can fail in any way
        raise SpecError(f"{who}: can't read its annotations: {type(error).__name__}: {error}") from None
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or parameter.name not in hints:
            raise SpecError(f"{who}: {str(parameter)!r} has to be a named option with an annotation")
    return {parameter.name: hints[parameter.name] for parameter in parameters}


def _default(cls: Any, name: str) -> Any:
    return inspect.signature(cls).parameters[name].default


def assemble(spec: PipelineSpec | Mapping[str, Any]) -> Pipeline:
    """The pipeline that a spec describes, with fresh weights.

    Raises:
        CrlError: a key, a value or a part is not what it should be; the text says where.
    """
    if not isinstance(spec, PipelineSpec):
        checked: PipelineSpec = convert(spec, PipelineSpec, "pipeline")
        return assemble(checked)
    made: dict[str, Any] = {}
    return Pipeline(
        part_from("sampler", spec.sampler, "sampler", made),
        branches={name: _assemble_branch(branch, f"branches.{name}", made) for name, branch in spec.branches.items()},
        contrasts=[_assemble_term(Contrast, part, f"contrasts.{i}", made) for i, part in enumerate(spec.contrasts)],
        penalties=[_assemble_term(Penalty, part, f"penalties.{i}", made) for i, part in enumerate(spec.penalties)],
    )


def _assemble_branch(spec: BranchSpec, place: str, made: dict[str, Any]) -> Branch:
    encoder: Any = spec.encoder
    if isinstance(encoder, dict):
        encoder = {name: part_from("encoder", part, f"{place}.encoder.{name}", made) for name, part in encoder.items()}
    elif encoder is not None:
        encoder = part_from("encoder", encoder, f"{place}.encoder", made)
    head = None if spec.head is None else part_from("head", spec.head, f"{place}.head", made)
    update = part_from("update", spec.update, f"{place}.update", made)
    with _at(place):
        return Branch(spec.view, encoder=encoder, head=head, tracks=spec.tracks, tap=spec.tap, update=update)


def _assemble_term(cls: Any, spec: ContrastSpec | PenaltySpec, place: str, made: dict[str, Any]) -> Any:
    options = {field.name: getattr(spec, field.name) for field in attrs.fields(type(spec))}
    for kind in ("score", "loss", "memory"):
        if kind in options:
            options[kind] = part_from(kind, options[kind], f"{place}.{kind}", made)
    with _at(place):
        return cls(**options)


@contextmanager
def _at(place: str) -> Iterator[None]:
    """Puts the place before what crl says there."""
    try:
        yield
    except CrlError as error:
        raise SpecError(f"{place}: {error}") from error


def part_from(
    kind: str, spec: Part | SameAs | Mapping[str, Any], place: str, made: dict[str, Any] | None = None
) -> Any:
    """The instance that a `Part` describes."""
    made = {} if made is None else made
    if isinstance(spec, Mapping):
        return part_from(kind, convert(spec, SameAs if "same_as" in spec else Part, place), place, made)
    if isinstance(spec, SameAs):
        if spec.same_as not in made:
            raise SpecError(
                f"{place}: same_as names {spec.same_as!r}, and no part stands there.{did_you_mean(spec.same_as, made)}"
            )
        found = made[spec.same_as]
        if not isinstance(found, nn.Module):
            raise SpecError(f"{place}: same_as names {spec.same_as!r}, which has no weights to share")
        with _at(place):
            return make(kind, found)
    with _at(place):
        cls = get(kind, spec.use)
        hints = signature(cls)
    options = {}
    for name, value in spec.options.items():
        if name not in hints:
            known = f"it has {', '.join(hints)}" if hints else "it has none"
            raise SpecError(f"{place}: {spec.use} has no option {name!r}; {known}.{did_you_mean(name, hints)}")
        options[name] = _value(value, hints[name], f"{place}.{name}", made)
    try:
        made[place] = cls(**options)
    except Exception as error:  # a part checks its options in its own way
        what = "" if isinstance(error, (CrlError, TypeError, ValueError)) else f"{type(error).__name__}: "
        raise SpecError(f"{place}: {spec.use}: {what}{error}") from error
    return made[place]


def _value(value: Any, hint: Any, place: str, made: dict[str, Any]) -> Any:
    kind = _kind(hint)
    if kind and (isinstance(value, (Part, SameAs)) or (isinstance(value, Mapping) and {"use", "same_as"} & set(value))):
        return part_from(kind, value, place, made)
    if isinstance(value, Relation) or attrs.has(type(value)):
        return value
    if isinstance(value, (list, tuple)) and _holds_made(_inner(hint, value), value):
        return [_value(item, _inner(hint, value), f"{place}.{i}", made) for i, item in enumerate(value)]
    if isinstance(value, Mapping) and _holds_made(_inner(hint, value), value.values()):
        return {name: _value(item, _inner(hint, value), f"{place}.{name}", made) for name, item in value.items()}
    if kind and value is not None and len(_choices(hint)) - (type(None) in _choices(hint)) == 1:
        raise SpecError(f'{place}: expected a part of kind {kind}, {{ use = "…" }}, not {value!r}')
    return convert(value, hint, place)


def _holds_made(inner: Any, values: Iterable[Any]) -> bool:
    """Whether these are parts, or what `describe` has left as it was, which is nothing to convert."""
    return _kind(inner) is not None or any(isinstance(value, Relation) or attrs.has(type(value)) for value in values)


def requirements(data: Any) -> dict[str, str]:
    """The distributions, with their versions, of all installed parts that a spec's data names."""
    owners = {part.address: part for part in known() if part.namespace != LOCAL}
    families = {part.namespace: part for part in advertised_hooks()}
    named = (owners.get(use) or families.get(use.partition("/")[0]) for use in _uses(data))
    found = {part.distribution: part.version for part in named if part is not None}
    return dict(sorted({"crl-core": core_version(), **found}.items()))


def refuse_local(data: Any) -> None:
    """Raises SpecError if a part exists only in this process: nobody else could load such a spec."""
    for use in _uses(data):
        if use.startswith(f"{LOCAL}/"):
            raise SpecError(
                f"{use} exists only in this process: put it into a distribution, as an entry point of crl.<kind>"
            )


def _uses(data: Any) -> Iterator[str]:
    if isinstance(data, Mapping):
        if isinstance(data.get("use"), str):
            yield data["use"]
        for value in data.values():
            yield from _uses(value)
    elif isinstance(data, list):
        for value in data:
            yield from _uses(value)
