"""A recipe with settings, KEY=VALUE: its own options, options of the training, and places in the spec of a run."""

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
    """`["epochs=5", "source.path=a.npz"]` as nested dictionaries; a value is TOML or a plain word.

    Raises:
        SpecError: a text has no `=`.
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
    """A recipe with some settings, as in `crl train WHAT --set …`.

    >>> import crl_core as crl
    >>> made = crl.recipe("simclr", temperature=0.2, epochs=5)
    >>> made.training.epochs, made.pipeline.contrasts[0].score
    (5, Cosine(temperature=0.2))

    Args:
        what: the name of a recipe, or its function.
        preset: the name of one of its presets; by default the first. "paper" has the settings of the paper.
        settings: options of the recipe, fields of `Training`, or dictionaries for places in the spec.

    Raises:
        CrlError: there is no such recipe, preset or setting, or a setting has a wrong value.
    """
    function = get("recipe", what) if isinstance(what, str) else what
    return prepare(function, {**settings, **({} if preset is None else {"preset": preset})})


def prepare(recipe: Callable[..., Recipe], settings: Mapping[str, Any]) -> Recipe:
    """The recipe with a preset and these settings: its own options first, then places in the spec of the run.

    `epochs` is short for `training.epochs`, and so on for all fields of `Training`; `preset` names the preset.

    Raises:
        CrlError: there is no such setting or preset, or a setting has a wrong type or is out of range.
    """
    hints = hints_of_recipe(recipe)
    preset = preset_of(recipe, settings.get("preset"))[1]
    settings_given = {name: value for name, value in settings.items() if name != "preset" or name in hints}
    options = {**preset, **{name: value for name, value in settings_given.items() if name in hints}}
    result = _call(recipe, {name: _option(name, options[name], hints[name]) for name in options if name in hints})
    result = _trained_by(result, {name: value for name, value in preset.items() if name not in hints})
    rest = {name: value for name, value in settings_given.items() if name not in hints}
    result = _trained_by(result, {name: value for name, value in rest.items() if _is_whole(name, value)})
    if rest := {name: value for name, value in rest.items() if not _is_whole(name, value)}:
        data = folder.spec_of(result.pipeline, result.source, result.training)
        return Recipe(*folder.parts_of(with_settings(data, rest, also=hints)))
    return result


def _call(recipe: Callable[..., Recipe], options: dict[str, Any]) -> Recipe:
    """The recipe with these options; a field of a data class, such as `Images`, is set in the data class."""
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
    """Whether it is the value of a field of `Training`, and not a dictionary with some options of the field."""
    return name in _TRAINING and not isinstance(value, Mapping)


def _trained_by(recipe: Recipe, fields: Mapping[str, Any]) -> Recipe:
    """The recipe with other values of `Training`, in all stages if it has several."""
    if not fields:
        return recipe
    hints = signature(Training)
    values = {name: _option(f"training.{name}", value, hints[name]) for name, value in fields.items()}
    try:
        stages = [attrs.evolve(stage, **values) for stage in stages_of(recipe.training)]
    except (TypeError, ValueError) as error:
        raise SpecError(f"training: {error}") from error
    return Recipe(recipe.pipeline, recipe.source, stages if isinstance(recipe.training, list) else stages[0])


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
    """The training with another value of an option, in all stages if it has several."""
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
