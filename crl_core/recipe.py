"""A recipe: a published method as a pipeline, with a source and a training that suit each other.

A recipe part (kind `recipe`) is a function of annotated options, all with defaults, that returns a
`Recipe`. Its docstring has a line `Paper: …`, and says what it was checked against.
"""

from __future__ import annotations

import inspect
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_args

import attrs
from torch import nn

from .assembly import KIND_OF, part_from, signature
from .branch import Branch
from .contrast import Contrast
from .engine import folder
from .engine.training import Training
from .errors import did_you_mean
from .named import Named
from .parts.keys.per_query import PerQuery
from .pipeline import Pipeline
from .protocols import Source
from .registry import get, known
from .spec import Part, SpecError, convert


@attrs.frozen(eq=False)
class Recipe:
    pipeline: Pipeline
    source: Source
    training: Training | list[Training]
    """Several are stages, one after the other."""


# -- settings: KEY=VALUE ---------------------------------------------------------------------------


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
        methods_table = settings
        for name in path:
            inner = methods_table.get(name, {})
            methods_table[name] = methods_table = {"use": inner} if isinstance(inner, str) else inner
        methods_table[last] = _value(value.strip())
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


# -- the paper's tables ----------------------------------------------------------------------------

COLUMNS = ("query", "positive", "negative", "encoder", "heads", "loss")


def methods_table() -> list[dict[str, str]]:
    """Every installed recipe as a row of the paper's tables 2 to 6, read off its parts."""
    rows = []
    for part in known("recipe"):
        function = get("recipe", part.address)
        found = re.search(r"^\s*Paper:\s*(.+?)(?:\n\s*\n|\Z)", inspect.getdoc(function) or "", re.MULTILINE | re.DOTALL)
        paper = " ".join(found[1].split()) if found else ""
        rows.append(
            {"name": part.name, "domain": part.namespace, **describe_method(function().pipeline), "paper": paper}
        )
    return rows


def describe_method(pipeline: Pipeline) -> dict[str, str]:
    """The six columns of the paper's tables."""
    branches = pipeline.branches
    scored = [contrast for contrast in pipeline.contrasts if contrast.loss.takes == "scores"]
    return {
        "query": _joined(
            f"{', '.join(_views(pipeline, c.query))} by {_samplers(pipeline)}" for c in pipeline.contrasts
        ),
        "positive": _joined(f"{', '.join(_views(pipeline, c.key))}: {c.positive}" for c in pipeline.contrasts),
        "negative": _joined(f"{c.negative}{_where(c)}" for c in scored) or "none",
        "encoder": _joined(_encoder(name, branch) for name, branch in branches.items() if not branch.tap),
        "heads": _joined(brief(branch.head) for branch in branches.values() if branch.head is not None) or "none",
        "loss": _joined(brief(c.loss) + (f" of {brief(c.score)}" if c in scored else "") for c in pipeline.contrasts),
    }


def _samplers(pipeline: Pipeline) -> str:
    return ", ".join(brief(sampler) for sampler in pipeline.samplers.values())


def _joined(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(texts))


def _views(pipeline: Pipeline, names: str | tuple[str, ...] | None) -> list[str]:
    found: list[str] = []
    for name in (names,) if isinstance(names, str) else names or ():
        branch = pipeline.branches[name]
        while branch.tap:
            branch = pipeline.branches[branch.tap.partition(".")[0]]
        found += [view for view in branch.views if view not in found]
    return found


def _where(contrast: Contrast) -> str:
    return "".join(f", {brief(choice)}" for choice in contrast.keys if not isinstance(choice, PerQuery))


def _encoder(name: str, branch: Branch) -> str:
    if branch.tracks:
        return f"{name}: {brief(branch.update)} of {branch.tracks}"
    own = branch.encoder
    text = ", ".join(brief(part) for part in own.values()) if isinstance(own, Named) else brief(own)
    return f"{text} ({brief(branch.update)})" if branch.update.frozen else text


def brief(part: Any) -> str:
    """A part as one would write it: its class, and the options that are not the default."""
    parameters = inspect.signature(type(part)).parameters
    told = {name: getattr(part, name, p.default) for name, p in parameters.items()}
    changed = [
        f"{name}={brief(value) if isinstance(value, nn.Module) else repr(value)}"
        for name, value in told.items()
        if value != parameters[name].default
    ]
    return type(part).__name__ + (f"({', '.join(changed)})" if changed else "")
