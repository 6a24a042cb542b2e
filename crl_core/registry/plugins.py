"""Finds the parts of installed plugins, checks their requirements, and loads them.

Each part is an entry point, `name = "package.module:Class"`, in the group `crl.<kind>` of any
installed distribution. Finding reads metadata and imports nothing; only loading imports.
Nothing here may import torch, attrs or cattrs, so that `crl list` is fast.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import Distribution, EntryPoint, PackageNotFoundError, entry_points, version
from itertools import chain
from typing import Any, NamedTuple

from ..errors import CrlError, did_you_mean

KINDS = (
    "sampler", "encoder", "head", "score", "loss", "keys", "update", "source", "evaluator", "recipe", "kernel",
    "optimiser", "schedule", "reader",
)  # fmt: skip
FORMERLY = {"keys": "memory"}  # the groups of kinds in crl 0.1
CORE = "core"
LOCAL = "local"
HOOKS = "crl.hooks"


class PluginError(CrlError):
    """A part can't be found or loaded; the message says which distribution is at fault and what to run."""


class Known(NamedTuple):
    """A part before it is loaded: its metadata."""

    kind: str
    namespace: str
    name: str
    target: str
    distribution: str
    version: str

    @property
    def address(self) -> str:
        return f"{self.namespace}/{self.name}"


class Loaded(NamedTuple):
    """A part whose code has been imported."""

    known: Known
    part: Any


_local: dict[tuple[str, str], Loaded] = {}


def namespace_of(distribution: str) -> str:
    """`crl-vision` -> `vision`; `acme-contrast` -> `acme-contrast`."""
    return re.sub(r"[-_.]+", "-", distribution).lower().removeprefix("crl-")


@cache
def installed() -> tuple[Known, ...]:
    """All parts that the installed distributions advertise, that is, have entry points for; sorted."""
    points: Any = entry_points()  # once for all groups, because each call takes as long as this one
    by_group: dict[str, list[EntryPoint]] = {}
    for point in chain.from_iterable(dict.values(points)) if isinstance(points, dict) else points:
        by_group.setdefault(point.group, []).append(point)
    groups = [*zip(KINDS, KINDS, strict=True), *FORMERLY.items()]
    parts = [known for kind, group in groups for known in _read(kind, by_group.get(f"crl.{group}", []))]
    namespaces = {part.namespace for part in [*parts, *_read("hooks", by_group.get(HOOKS, []))]}
    for name in sorted(_disabled() - namespaces):
        close = did_you_mean(name, namespaces)
        warnings.warn(f"CRL_DISABLE names {name!r}, but no installed plugin has this name.{close}", stacklevel=2)
    # Sorted, so that nothing depends on the order of sys.path.
    return tuple(sorted(set(_enabled(parts))))


def advertised_hooks() -> list[Known]:
    """The modules with hooks that the installed distributions advertise, sorted."""
    return sorted(set(_enabled(_read("hooks", entry_points(group=HOOKS)))))


def refresh() -> None:
    """Reads the installed distributions again, after an installation in a running notebook."""
    installed.cache_clear()
    importlib.invalidate_caches()
    # If hooks or kernels were not imported yet, they have no cache.
    for name, forgotten in (("hooks", "listeners"), ("kernels", "_all_kernels")):
        if module := sys.modules.get(f"{__package__}.{name}"):
            getattr(module, forgotten).cache_clear()


def known(kind: str | None = None) -> list[Known]:
    """The parts that can be used, of one kind or of all."""
    if kind is not None and kind not in KINDS:
        raise PluginError(f"no kind {kind!r}; the kinds are {', '.join(KINDS)}.{did_you_mean(kind, KINDS)}")
    parts = [*installed(), *(loaded.known for loaded in _local.values())]
    return [part for part in parts if kind in (None, part.kind)]


def _read(kind: str, points: Iterable[EntryPoint]) -> Iterator[Known]:
    for point in points:
        if point.dist is not None and (identity := identity_of(point.dist)) is not None:
            name, release = identity
            yield Known(kind, namespace_of(name), point.name, point.value, name, release)


@cache
def identity_of(dist: Distribution) -> tuple[str, str] | None:
    """Name and version; None if the metadata are broken, for example by an interrupted installation."""
    # Parsing METADATA is the slow part of listing, so it is done once per distribution.
    try:
        name, release = dist.metadata["Name"], dist.metadata["Version"]
    except Exception:  # the class of the error depends on the version of Python
        return None
    return (name, release) if name and release else None


def _disabled() -> set[str]:
    return {name.strip() for name in os.environ.get("CRL_DISABLE", "").split(",") if name.strip()}


def _alone() -> bool:
    return os.environ.get("CRL_AUTOLOAD") == "0"


def _enabled(parts: Iterable[Known]) -> Iterator[Known]:
    """The parts that CRL_DISABLE=namespace,… doesn't exclude; only those of the core with CRL_AUTOLOAD=0."""
    disabled, alone = _disabled(), _alone()
    return (part for part in parts if part.namespace == CORE or not (alone or part.namespace in disabled))


def find(kind: str, name: str) -> Known:
    """The one part that `name` or `namespace/name` means.

    A bare name is the core's own part if it has one; otherwise it must be unique.

    Raises:
        PluginError: there is none, or there are two.
    """
    parts = known(kind)
    matches = [part for part in parts if name in (part.address, part.name)]
    own = [part for part in matches if part.namespace == CORE]
    if len(own) == 1:
        return own[0]
    if not matches:
        raise PluginError(_unknown(kind, name, parts))
    if len(matches) > 1:
        raise PluginError(_ambiguous(kind, name, matches))
    return matches[0]


def _unknown(kind: str, name: str, parts: list[Known]) -> str:
    close = did_you_mean(name, [part.name for part in parts] + [part.address for part in parts])
    elsewhere = sorted({part.kind for part in known() if name in (part.address, part.name)})
    if elsewhere:
        close = f" There is {' and '.join(map(one, elsewhere))} with this name.{close}"
    namespace = name.partition("/")[0] if "/" in name else None
    if namespace and namespace in _disabled():
        close += f" CRL_DISABLE excludes {namespace!r}."
    elif namespace and _alone():
        close += " CRL_AUTOLOAD=0 excludes all plugins."
    elif namespace and namespace not in {part.namespace for part in [*known(), *advertised_hooks()]} | {LOCAL}:
        close += f" No installed plugin is called {namespace!r}."
    return f"no {kind} named {name!r}.{close} Run: crl list {kind}"


def one(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def _ambiguous(kind: str, name: str, matches: list[Known]) -> str:
    if len({part.address for part in matches}) == 1:
        owners = ", ".join(f"{part.distribution} {part.version} ({part.target})" for part in matches)
        return f"{kind} {name!r} has the same address in two distributions: {owners}. Uninstall one of them."
    addresses = ", ".join(f"{part.address} ({part.distribution} {part.version})" for part in matches)
    return (
        f"{len(matches)} plugins have the {kind} {name!r}: {addresses}. "
        f"Write the one you mean, e.g. {matches[0].address!r}."
    )


def check(part: Known) -> None:
    """Compares the installed crl-core with the range in the metadata of the part's distribution.

    Installers check this too, but not with `--no-deps` or for editable installs.

    Raises:
        PluginError: the installed version is not in the range.
    """
    if part.namespace in (CORE, LOCAL):
        return
    ours = core_version()
    for wanted in unmet(part.distribution, ours):
        raise PluginError(
            f"{part.kind} {part.address!r} not loaded: {part.distribution} {part.version} needs {wanted}; "
            f"this is crl-core {ours}. Run: pip install -U {part.distribution} crl-core"
        )


def unmet(distribution: str, ours: str) -> list[str]:
    """The requirements of `distribution` on crl-core that version `ours` doesn't meet."""
    from importlib.metadata import requires

    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    try:
        wanted = [Requirement(text) for text in requires(distribution) or ()]
    except InvalidRequirement as error:
        return [f"something that can't be read: {error}"]
    return [
        f"{requirement.name}{requirement.specifier}"
        for requirement in wanted
        if canonicalize_name(requirement.name) == "crl-core"
        and (requirement.marker is None or requirement.marker.evaluate())
        and not requirement.specifier.contains(ours, prereleases=True)
    ]


@cache
def core_version() -> str:
    try:
        return version("crl-core")
    except PackageNotFoundError:
        raise PluginError("crl-core itself is not installed. Run: pip install crl-core") from None


def absent(distribution: str, release: str) -> str | None:
    """Why the parts of this release of a distribution can't be used, and what to run; None if they can."""
    from packaging.utils import canonicalize_name

    here = {canonicalize_name(part.distribution) for part in [*known(), *advertised_hooks()]}
    if canonicalize_name(distribution) in here:
        return None
    try:
        present = version(distribution)
    except PackageNotFoundError:
        return f"is not installed. Run: pip install {distribution}=={release}"
    if namespace_of(distribution) in _disabled():
        return f"is installed, but excluded by CRL_DISABLE={os.environ['CRL_DISABLE']}"
    if _alone():
        return "is installed, but excluded by CRL_AUTOLOAD=0"
    return f"is installed in version {present}, which has no parts"


def load(part: Known) -> Loaded:
    """Imports the part.

    Raises:
        PluginError: its distribution needs another version of the core, or its import failed.
    """
    if (part.kind, part.name) in _local and part.namespace == LOCAL:
        return _local[part.kind, part.name]
    check(part)
    try:
        part_loaded = resolve(part.target)
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"{part.kind} {part.address!r} failed to load from {part.target} ({part.distribution} {part.version}): "
            f"{type(error).__name__}: {error}\n  Other plugins are unaffected. Run: crl doctor {part.distribution}"
        ) from error
    return Loaded(part, part_loaded)


def resolve(target: str) -> Any:
    """The object at `package.module:Class`; without `:Class`, the module."""
    module, colon, attribute = target.partition(":")
    target_object: Any = importlib.import_module(module.strip())
    for step in attribute.strip().split(".") if colon else ():
        target_object = getattr(target_object, step)
    return target_object


def register(kind: str, name: str, part: Any) -> Any:
    """Registers a class in this process, as `local/name`. Returns it, so it can be used as a decorator.

    A spec with a local part can't be saved. Put a part that others should load into a distribution.
    """
    if kind not in KINDS:
        known(kind)
    target = f"{getattr(part, '__module__', '?')}:{getattr(part, '__qualname__', part)}"
    _local[kind, name] = Loaded(Known(kind, LOCAL, name, target, "this process", ""), part)
    return part
