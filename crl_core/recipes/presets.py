"""Presets: named sets of settings of a recipe; and the settings that a recipe takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, get_type_hints

import attrs

from ..engine.training import stages_of
from ..errors import CrlError, did_you_mean
from .recipe import Recipe

PAPER = "paper"
"""The preset that every recipe has: the defaults in its file."""

Function = TypeVar("Function", bound=Callable[..., Recipe])


def presets(**named: Mapping[str, Any]) -> Callable[[Function], Function]:
    """Gives a recipe named sets of settings; the first is the default of `crl train`.

        @crl.presets(digits={"queue": 4_096, "epochs": 80})
        def moco(images: Images = Images(), queue: int = 65_536) -> crl.Recipe: ...

    A setting is an option of the recipe or of `Training`. Every recipe has the preset `paper`, which sets nothing.
    """

    def mark(recipe: Function) -> Function:
        recipe.presets = {**named, PAPER: {}}  # type: ignore[attr-defined]
        return recipe

    return mark


def presets_of(recipe: Callable[..., Recipe]) -> dict[str, Mapping[str, Any]]:
    """The presets of a recipe by name; the first is the default."""
    return dict(getattr(recipe, "presets", {PAPER: {}}))


def preset_of(recipe: Callable[..., Recipe], name: str | None) -> tuple[str, Mapping[str, Any]]:
    """The preset with this name, or the default, and its settings.

    Raises:
        CrlError: the recipe has no such preset.
    """
    presets = presets_of(recipe)
    name = next(iter(presets)) if name is None else name
    if name not in presets:
        raise CrlError(f"no preset {name!r}; there are {', '.join(presets)}.{did_you_mean(name, presets)}")
    return name, presets[name]


def shown(recipe: Callable[..., Recipe], name: str) -> Mapping[str, Any]:
    """The settings of a preset, to be printed; of `paper`, how the recipe's own training goes."""
    _, values = preset_of(recipe, name)
    if values:
        return values
    training = stages_of(recipe().training)[0]
    return {field: getattr(training, field) for field in ("epochs", "batch_size", "optimiser", "schedule")}


def groups_of(recipe: Callable[..., Recipe]) -> dict[str, Any]:
    """The options that are data classes, such as `images: Images`, with their defaults; their fields are settings."""
    parameters = inspect.signature(recipe).parameters
    return {name: each.default for name, each in parameters.items() if _is_group(each.default)}


def hints_of_recipe(recipe: Callable[..., Recipe]) -> dict[str, Any]:
    """The types of all settings that a recipe takes."""
    groups = groups_of(recipe)
    found: dict[str, Any] = {}
    for name, hint in get_type_hints(recipe).items():
        if name in groups:
            hints = get_type_hints(type(groups[name]))
            found |= {each.name: hints[each.name] for each in _fields(groups[name])}
        elif name != "return":
            found[name] = hint
    return found


def _is_group(value: Any) -> bool:
    """Whether it is an instance of a data class such as `Images`, which helps to make recipes."""
    return attrs.has(type(value)) and callable(getattr(value, "recipe", None))


def _fields(group: Any) -> list[attrs.Attribute[Any]]:
    return [each for each in attrs.fields(type(group)) if each.init]
