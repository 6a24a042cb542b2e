"""The tables of the review, made from the parts of the installed recipes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from typing import Any

from torch import nn

from ..method.branch import Branch
from ..method.contrast import Contrast
from ..method.named import NamedModules
from ..method.pipeline import Pipeline
from ..parts.keys.per_query import PerQuery
from ..registry import get, known

_PAPER = re.compile(r"^\s*Paper:\s*(.+?)(?:\n\s*\n|\n\s*(?:Checked|Differs|Args)|\Z)", re.MULTILINE | re.DOTALL)
COLUMNS = ("query", "positive", "negative", "encoder", "heads", "loss")


def methods_table() -> list[dict[str, str]]:
    """All installed recipes as rows of the review's tables 2 to 6, made from their parts."""
    rows = []
    for part in known("recipe"):
        function = get("recipe", part.address)
        found = _PAPER.search(inspect.getdoc(function) or "")
        paper = " ".join(found[1].split()) if found else ""
        rows.append(
            {"name": part.name, "domain": part.namespace, **describe_method(function().pipeline), "paper": paper}
        )
    return rows


def describe_method(pipeline: Pipeline) -> dict[str, str]:
    """The six columns of the review's tables."""
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
    names_so_far: list[str] = []
    for name in (names,) if isinstance(names, str) else names or ():
        branch = pipeline.branches[name]
        while branch.tap:
            branch = pipeline.branches[branch.tap.partition(".")[0]]
        names_so_far += [view for view in branch.views if view not in names_so_far]
    return names_so_far


def _where(contrast: Contrast) -> str:
    chosen = [choice for choice in contrast.keys if not isinstance(choice, PerQuery)]
    return "".join(f", {brief(one)}" if hasattr(one, "choose") else f", from {brief(one)}" for one in chosen)


def _encoder(name: str, branch: Branch) -> str:
    if branch.tracks:
        return f"{name}: {brief(branch.update)} of {branch.tracks}"
    own = branch.encoder
    text = ", ".join(brief(part) for part in own.values()) if isinstance(own, NamedModules) else brief(own)
    return f"{text} ({brief(branch.update)})" if branch.update.frozen else text


def brief(part: Any) -> str:
    """A part as text: its class, and the options that differ from their defaults."""
    parameters = inspect.signature(type(part)).parameters
    options = {name: getattr(part, name, p.default) for name, p in parameters.items()}
    changed = [
        f"{name}={brief(value) if isinstance(value, nn.Module) else repr(value)}"
        for name, value in options.items()
        if value != parameters[name].default
    ]
    return type(part).__name__ + (f"({', '.join(changed)})" if changed else "")
