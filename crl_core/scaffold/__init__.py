"""Makes a new plugin: a complete distribution with working parts, from the files next to this one."""

from __future__ import annotations

import importlib.util
import keyword
import re
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from string import Template
from typing import NamedTuple

from ..errors import CrlError, did_you_mean
from ..registry.plugins import CORE, KINDS, LOCAL, known, namespace_of

_HERE = Path(__file__).parent
_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?", re.IGNORECASE)


class Began(NamedTuple):
    """A part of a new plugin."""

    kind: str
    noun: str
    """The name of its module."""
    name: str
    target: str
    """The name of the class or the function."""
    says: str


_BEGINNINGS = {
    part.kind: part
    for part in (
        Began("sampler", "samplers", "jittered", "Jittered", "two views of every series: rolled, scaled, in noise"),
        Began("encoder", "encoders", "convolutions", "Convolutions", "convolutions over time"),
        Began("head", "heads", "residual", "Residual", "a linear map that a hidden layer corrects"),
        Began("score", "scores", "gaussian", "Gaussian", "the logarithm of a Gaussian around the key"),
        Began(
            "loss", "losses", "weighted", "Weighted", "InfoNCE whose positives have left the denominator, and a weight"
        ),
        Began("keys", "keys", "previous", "Previous", "the keys of the step before"),
        Began("update", "updates", "periodic", "Periodic", "a copy that catches up every so many steps"),
        Began("source", "sources", "waves", "Waves", "series of three shapes, made up on the spot"),
        Began("evaluator", "evaluators", "nearest-mean", "NearestMean", "how many lie nearest to their class's mean"),
        Began("recipe", "recipes", "series-simclr", "series_simclr", "SimCLR for series"),
        Began("kernel", "kernels", "by-query", "ByQuery", "one query at a time"),
        Began("optimiser", "optimisers", "signs", "Signs", "steps of one size along every coordinate"),
        Began("schedule", "schedules", "steps", "Steps", "a rate that falls twice"),
        Began("reader", "readers", "bytes", "Bytes", "texts as the numbers of their bytes"),
    )
}
_NEEDS = {"recipe": ("source", "sampler", "encoder")}  # a recipe is made of parts that a spec can name


class Plugin(NamedTuple):
    """The new plugin: its name and its parts."""

    name: str
    parts: tuple[Began, ...]

    @property
    def module(self) -> str:
        return re.sub(r"[-.]+", "_", self.name.lower())

    def address(self, part: Began) -> str:
        return f"{namespace_of(self.name)}/{part.name}"


def plan(name: str, kinds: Iterable[str]) -> Plugin:
    """A plugin of this name with a part of each of these kinds.

    Raises:
        CrlError: the name is not allowed, or is taken; or there is no such kind.
    """
    wanted = list(dict.fromkeys(kinds))
    for kind in wanted:
        if kind not in KINDS:
            raise CrlError(f"no kind {kind!r}; the kinds are {', '.join(KINDS)}.{did_you_mean(kind, KINDS)}")
    every = dict.fromkeys([needed for kind in wanted for needed in (*_NEEDS.get(kind, ()), kind)])
    plugin = Plugin(name, tuple(_BEGINNINGS[kind] for kind in every))
    _check_name(plugin)
    return plugin


def _check_name(plugin: Plugin) -> None:
    name, module = plugin.name, plugin.module
    if not _NAME.fullmatch(name):
        raise CrlError(
            f"{name!r} is not a name for a distribution: letters, digits and - _ . between them, e.g. 'crl-acme'"
        )
    if not module.isidentifier() or keyword.iskeyword(module):
        raise CrlError(f"{name!r} would be imported as {module!r}, which Python can't: try 'crl-{name}'")
    try:
        taken = version(name)
    except PackageNotFoundError:
        pass
    else:
        raise CrlError(f"{name!r} is already installed (version {taken}): choose another name, or uninstall it")
    namespace = namespace_of(name)
    owners = sorted({part.distribution for part in known() if part.namespace == namespace})
    if owners or namespace in (CORE, LOCAL):
        whose = "crl's own" if namespace in (CORE, LOCAL) else f"that of {', '.join(owners)}"
        raise CrlError(f"{name!r} would have the namespace {namespace!r}, which is {whose}: choose another name")
    if module in sys.stdlib_module_names or importlib.util.find_spec(module) is not None:
        raise CrlError(f"{name!r} would be imported as {module!r}, but there is such a module: try 'crl-{name}'")


def write(plugin: Plugin, folder: Path) -> list[Path]:
    """Writes the distribution into a new folder.

    Raises:
        CrlError: the folder already exists, or can't be made.
    """
    if folder.exists():
        raise CrlError(f"{folder} already exists: choose another folder with --out, or another name")
    files = _files(plugin)
    try:
        for place, text in files.items():
            path = folder / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CrlError(f"can't write {folder}: {error}") from None
    return [folder / place for place in files]


def _files(plugin: Plugin) -> dict[str, str]:
    """The text of each file, by its path."""
    values = {
        "name": plugin.name,
        "module": plugin.module,
        "description": "Parts for contrastive learning with crl",
        "entry_points": "".join(_entry_point(plugin, part) for part in plugin.parts),
        "parts": "\n".join(f"- the {part.kind} `{plugin.address(part)}`: {part.says}" for part in plugin.parts),
        "look_up": "\n".join(f"crl info {plugin.address(part)}" for part in plugin.parts),
        "examples": ", ".join(f'"{plugin.address(part)}": series' for part in _without_data(plugin)),
    }
    test = "test_conformance_with_examples.py" if _without_data(plugin) else "test_conformance.py"
    return {
        "pyproject.toml": _filled("pyproject.toml", values),
        "README.md": _filled("README.md", values),
        ".github/workflows/tests.yml": _filled("tests.yml", values),
        f"{plugin.module}/__init__.py": "",
        **{f"{plugin.module}/{part.noun}.py": _text(f"parts/{part.noun}.py") for part in plugin.parts},
        "tests/test_conformance.py": _filled(test, values),
    }


def _without_data(plugin: Plugin) -> list[Began]:
    """The parts for which the kit needs an example, because the plugin has no source with data for them."""
    if any(part.kind == "source" for part in plugin.parts):
        return []
    return [part for part in plugin.parts if part.kind in ("sampler", "encoder")]


def _entry_point(plugin: Plugin, part: Began) -> str:
    return f'\n[project.entry-points."crl.{part.kind}"]\n{part.name} = "{plugin.module}.{part.noun}:{part.target}"\n'


def _filled(file: str, values: dict[str, str]) -> str:
    return Template(_text(f"files/{file}.txt")).substitute(values)


def _text(place: str) -> str:
    return (_HERE / place).read_text(encoding="utf-8")
