"""Settings, KEY=VALUE: the options of a recipe, and places in the spec of a run."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from ..engine import folder
from ..engine.training import Training, stages_of
from ..errors import SpecError, did_you_mean
from ..registry import get, make
from ..registry.options import kind_of, signature
from ..spec.assembly import part_from, value_from
from ..spec.spec import Part
from .presets import groups_of, hints_of_recipe, preset_of
from .recipe import Recipe

_TRAINING = [field.name for field in attrs.fields(Training)]


def parse_settings(texts: Iterable[str]) -> dict[str, Any]:
    """`["epochs=5", "source.path=a.npz"]` as nested tables; a value is TOML, or else a plain word.

    Raises:
        SpecError: one has no `=`.
    """
    settings: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise SpecError(f"a setting is KEY=VALUE, not {text!r}")
        *path, last = key.strip().split(".")
        table = settings
        for name in path:
            inner = table.get(name, {})
            table[name] = table = {"use": inner} if isinstance(inner, str) else inner
        table[last] = _value(value.strip())
    return settings


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def recipe(what: str | Callable[..., Recipe], /, preset: str | None = None, **settings: Any) -> Recipe:
    """A recipe with some settings: what `crl train WHAT --set …` trains, in Python.

    >>> import crl_core as crl
    >>> made = crl.recipe("simclr", temperature=0.2, epochs=5)
    >>> made.training.epochs, made.pipeline.contrasts[0].score
    (5, Cosine(temperature=0.2))

    Args:
        what: its name, or the function.
        preset: the name of one of its presets; the first by default, and "paper" for the paper's own values.
        settings: options of the recipe, fields of `Training`, or tables for places of the spec.

    Raises:
        CrlError: there is no such recipe or preset, or a setting means nothing here or has a wrong value.
    """
    found = get("recipe", what) if isinstance(what, str) else what
    return prepare(found, {**settings, **({} if preset is None else {"preset": preset})})


def prepare(recipe: Callable[..., Recipe], settings: Mapping[str, Any]) -> Recipe:
    """The recipe with a preset and these settings: its own options first, then places in the spec of the run.

    `epochs` is short for `training.epochs`, and so on for all of `Training`; `preset` names the preset.

    Raises:
        CrlError: a setting means nothing here, has a wrong type, or is out of its range; or there is no such preset.
    """
    hints = hints_of_recipe(recipe)
    preset = preset_of(recipe, settings.get("preset"))[1]
    told = {name: value for name, value in settings.items() if name != "preset" or name in hints}
    given = {**preset, **{name: value for name, value in told.items() if name in hints}}
    made = _call(recipe, {name: _option(name, given[name], hints[name]) for name in given if name in hints})
    made = _trained_by(made, {name: value for name, value in preset.items() if name not in hints})
    rest = {name: value for name, value in told.items() if name not in hints}
    made = _trained_by(made, {name: value for name, value in rest.items() if _is_whole(name, value)})
    if rest := {name: value for name, value in rest.items() if not _is_whole(name, value)}:
        data = folder.spec_of(made.pipeline, made.source, made.training)
        return Recipe(*folder.parts_of(with_settings(data, rest, also=hints)))
    return made


def _call(recipe: Callable[..., Recipe], options: dict[str, Any]) -> Recipe:
    """The recipe with these options; those that are fields of a group are set in it."""
    for name, group in groups_of(recipe).items():
        fields = {each.name for each in attrs.fields(type(group))} & set(options)
        if fields:
            options[name] = attrs.evolve(group, **{field: options.pop(field) for field in sorted(fields)})
    try:
        return recipe(**options)
    except ValueError as error:
        raise SpecError(f"{getattr(recipe, '__name__', 'the recipe')}: {error}") from error


def _option(name: str, value: Any, hint: Any) -> Any:
    kind = kind_of(hint)
    if kind is None or value is None:
        return value_from(value, hint, name)
    if isinstance(value, str):
        return part_from(kind, Part(value), name)
    return part_from(kind, value, name) if isinstance(value, Mapping) else make(kind, value)


def _is_whole(name: str, value: Any) -> bool:
    """Whether it is all of a field of `Training`, and not a table with some of its options."""
    return name in _TRAINING and not isinstance(value, Mapping)


def _trained_by(made: Recipe, fields: Mapping[str, Any]) -> Recipe:
    """The recipe with other values of `Training`, in every stage if it has several."""
    if not fields:
        return made
    hints = signature(Training)
    values = {name: _option(f"training.{name}", value, hints[name]) for name, value in fields.items()}
    try:
        stages = [attrs.evolve(stage, **values) for stage in stages_of(made.training)]
    except (TypeError, ValueError) as error:
        raise SpecError(f"training: {error}") from error
    return Recipe(made.pipeline, made.source, stages if isinstance(made.training, list) else stages[0])


def with_settings(data: Mapping[str, Any], settings: Mapping[str, Any], also: Iterable[str] = ()) -> dict[str, Any]:
    """The data of a run's spec with other values at some places."""
    changed = dict(data)
    for name, value in settings.items():
        if name in _TRAINING:
            changed["training"] = _each(changed.get("training", {}), name, value)
        elif name in ("source", "training", "pipeline"):
            changed[name] = _merged(changed.get(name, {}), value, name)
        else:
            choices = list(dict.fromkeys([*also, *_TRAINING, "source", "training", "pipeline"]))
            raise SpecError(f"no setting {name!r}; there are {', '.join(choices)}.{did_you_mean(name, choices)}")
    return changed


def _each(training: Any, name: str, value: Any) -> Any:
    """The training with another value of an option, in every stage if it has several."""
    if isinstance(training, list):
        return [_each(stage, name, value) for stage in training]
    return {**training, name: _merged(training.get(name), value, f"training.{name}")}


def _merged(old: Any, new: Any, place: str) -> Any:
    if isinstance(old, Mapping) and isinstance(new, Mapping) and "use" not in new:
        return {**old, **{name: _merged(old.get(name), value, f"{place}.{name}") for name, value in new.items()}}
    if isinstance(old, list) and isinstance(new, Mapping):
        wrong = [index for index in new if not (index.isdigit() and int(index) < len(old))]
        if wrong:
            raise SpecError(f"{place} has the places 0 to {len(old) - 1}, not {wrong[0]!r}")
        return [_merged(item, new[str(i)], f"{place}.{i}") if str(i) in new else item for i, item in enumerate(old)]
    if isinstance(old, Mapping) and "use" in old and isinstance(new, str):
        return {"use": new}
    return new
