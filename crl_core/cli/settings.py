"""Settings, KEY=VALUE: the options of a recipe, and places in the spec of a run."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_args

import attrs

from ..assembly import KIND_OF, part_from, signature
from ..engine import folder
from ..engine.training import Training
from ..errors import did_you_mean
from ..recipe import Recipe
from ..spec import Part, SpecError, convert


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


def prepare(recipe: Callable[..., Recipe], settings: Mapping[str, Any]) -> Recipe:
    """The recipe with these settings: its own options first, then places in the spec of the run.

    `epochs` is short for `training.epochs`, and so on for all of `Training`.

    Raises:
        SpecError: a setting means nothing here, has a wrong type, or is out of its range.
    """
    hints = signature(recipe)
    options = {name: _option(name, value, hints[name]) for name, value in settings.items() if name in hints}
    try:
        made = recipe(**options)
    except ValueError as error:
        raise SpecError(f"{getattr(recipe, '__name__', 'the recipe')}: {error}") from error
    rest = {name: value for name, value in settings.items() if name not in hints}
    if not rest:
        return made
    data = folder.spec_of(made.pipeline, made.source, made.training)
    return Recipe(*folder.parts_of(with_settings(data, rest, also=hints)))


def _option(name: str, value: Any, hint: Any) -> Any:
    kinds = [KIND_OF[choice] for choice in (hint, *get_args(hint)) if choice in KIND_OF]
    if not kinds:
        return convert(value, hint, name)
    return part_from(kinds[0], Part(value) if isinstance(value, str) else value, name)


def with_settings(data: Mapping[str, Any], settings: Mapping[str, Any], also: Iterable[str] = ()) -> dict[str, Any]:
    """The data of a run's spec with other values at some places."""
    trainings = [field.name for field in attrs.fields(Training)]
    changed = dict(data)
    for name, value in settings.items():
        if name in trainings:
            changed["training"] = _each(changed.get("training", {}), name, value)
        elif name in ("source", "training", "pipeline"):
            changed[name] = _merged(changed.get(name, {}), value, name)
        else:
            choices = list(dict.fromkeys([*also, *trainings, "source", "training", "pipeline"]))
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
