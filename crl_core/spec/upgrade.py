"""Converts specs and checkpoints of crl 0.1 (schema 1); an error names what can't be converted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import SpecError
from .spec import SCHEMA

if TYPE_CHECKING:
    from ..method.pipeline import Pipeline

_DRAWN_BY = "chance"


def spec(data: Mapping[str, Any], path: Path | str) -> dict[str, Any]:
    """The data of a spec in today's schema.

    Raises:
        SpecError: it has another schema, or something that today's schema doesn't have.
    """
    schema = data.get("schema")
    if schema == SCHEMA:
        return dict(data)
    if schema != 1:
        raise SpecError(f"{path}: schema {schema!r}; this version of crl-core reads 1 and {SCHEMA}")
    upgraded = dict(data)
    if "training" in data:
        upgraded["training"] = _training(data["training"])
    if "pipeline" in data:
        pipeline = _scheduled(_without_source(data["pipeline"], data.get("source"), "pipeline"))
        contrasts = [_contrast(contrast) for contrast in pipeline.get("contrasts", [])]
        upgraded["pipeline"] = {**pipeline, "contrasts": contrasts}
    return {**upgraded, "schema": SCHEMA}


def _training(old: Mapping[str, Any]) -> dict[str, Any]:
    """Optimiser and schedule as parts; they were a word and numbers."""
    new = {name: value for name, value in old.items() if name not in _OPTIMISERS_OWN}
    name = old.get("optimiser", "adamw")
    optimiser = {"use": f"core/{name}", "learning_rate": old.get("learning_rate", 1e-3)}
    optimiser["weight_decay"] = old.get("weight_decay", 1e-4)
    if name != "adamw":
        optimiser["momentum"] = old.get("momentum", 0.9)
    schedule = {"use": "core/cosine-decay", "warmup": old.get("warmup", 5.0)}
    return {**new, "optimiser": optimiser, "schedule": schedule}


_OPTIMISERS_OWN = ("optimiser", "learning_rate", "weight_decay", "momentum", "warmup")


def _without_source(data: Any, source: Any, place: str) -> Any:
    """Removes the source from the options of parts: today they get the source of the run."""
    if isinstance(data, Mapping):
        own = data.get("source")
        if "use" in data and isinstance(own, Mapping) and "use" in own:
            if own != source:
                raise SpecError(
                    f"{place}.source: {data['use']} has another source than the run, which is no longer possible: "
                    f"{own} and {source}"
                )
            data = {name: value for name, value in data.items() if name != "source"}
        return {name: _without_source(value, source, f"{place}.{name}") for name, value in data.items()}
    if isinstance(data, list):
        return [_without_source(value, source, f"{place}.{i}") for i, value in enumerate(data)]
    return data


def _scheduled(data: Any) -> Any:
    """A temperature or momentum with a `final` value becomes a number on a schedule."""
    if isinstance(data, list):
        return [_scheduled(value) for value in data]
    if not isinstance(data, Mapping):
        return data
    values = {name: _scheduled(value) for name, value in data.items()}
    option = {"core/momentum": "momentum", "core/cosine": "temperature"}.get(str(values.get("use")))
    if option is None or "final" not in values:
        return values
    start, final = values.get(option, 0.999 if option == "momentum" else 0.5), values.pop("final")
    return {**values, option: {"use": "core/scheduled", "start": start, "final": final}}


def _contrast(old: Mapping[str, Any]) -> dict[str, Any]:
    """The option `keys`, from `memory`, `draw`, `draw_by` and `per_query`."""
    new = {name: value for name, value in old.items() if name not in ("memory", "draw", "draw_by", "per_query")}
    memory = old.get("memory", {"use": "core/in-batch"})
    keys = [] if memory.get("use") in ("core/in-batch", "in-batch") else [memory]
    if old.get("draw"):
        of = {"of": keys[0]} if keys else {}
        keys = [{"use": "core/drawn", "count": old["draw"], "by": old.get("draw_by", _DRAWN_BY), **of}]
    if old.get("per_query"):
        keys = [{"use": "core/per-query"}, *keys]
    return {**new, "keys": keys}


def checkpoint(state: Any, path: Path, pipeline: Pipeline) -> dict[str, Any]:
    """A checkpoint's state with today's names, which are those of this pipeline.

    Raises:
        SpecError: it is not a checkpoint, or has a later version.
    """
    if not isinstance(state, dict) or not isinstance(state.get("pipeline"), dict):
        raise SpecError(f"{path} holds no pipeline")
    version = state.get("version", 1)
    if version not in (1, SCHEMA):
        raise SpecError(f"{path}: version {version!r}; this version of crl-core reads 1 and {SCHEMA}")
    return state if version == SCHEMA else {**state, "pipeline": weights(state["pipeline"], pipeline)}


def weights(old: Mapping[str, Any], pipeline: Pipeline) -> dict[str, Any]:
    """A pipeline's state; in 0.1, a memory was at `memory`, and a scheduled temperature in the score's divisor."""
    drawn = [any(hasattr(choice, "choose") for choice in contrast.keys) for contrast in pipeline.contrasts]
    return {_renamed(name, drawn): value for name, value in old.items()}


def _renamed(name: str, drawn: list[bool]) -> str:
    """Today's name for a name in the state; `drawn` says for each contrast whether its keys are drawn from a memory."""
    match = re.fullmatch(r"contrasts\.([0-9]+)\.memory\.(.*)", name)
    if match and int(match[1]) < len(drawn):
        place = "keys.0.of" if drawn[int(match[1])] else "keys.0"
        return f"contrasts.{match[1]}.{place}.{match[2]}"
    return name.replace(".divisor.now", ".temperature.now")
