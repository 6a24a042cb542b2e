"""Finds problems of the installed plugins, from metadata; with `imports`, also by importing their parts."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import Distribution, PackageNotFoundError, distributions, version
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import url2pathname

from packaging.utils import canonicalize_name

from ..errors import did_you_mean
from ..registry.plugins import (
    CORE,
    FORMERLY,
    HOOKS,
    KINDS,
    Known,
    absent,
    advertised_hooks,
    core_version,
    identity_of,
    installed,
    unmet,
)
from .probe import Imported, probe

GROUPS = (*(f"crl.{kind}" for kind in (*KINDS, *FORMERLY.values())), HOOKS)


class Finding(NamedTuple):
    """One problem: the distribution, what is wrong, and what to do."""

    distribution: str
    problem: str


class Examination(NamedTuple):
    """The result of `crl doctor`.

    Attributes:
        parts: the number of parts that were checked, and `distributions` with these parts.
        imports: the results of importing each part, with `imports`.
    """

    parts: int
    distributions: list[str]
    findings: list[Finding]
    imports: list[Imported]


def examine(distribution: str | None = None, *, imports: bool = False) -> list[Finding]:
    """The problems of all distributions, or of one.

    Args:
        imports: also import every part, each in its own process.
    """
    return examination(distribution, imports=imports).findings


def examination(distribution: str | None = None, *, imports: bool = False) -> Examination:
    """The problems, and what was checked. See `examine`."""
    parts, hooks = (
        [part for part in found if _is_of(distribution, part)] for found in (installed(), advertised_hooks())
    )
    tried = _tried([*parts, *hooks]) if imports else []
    findings = [
        *_doubled(), *_stale(), *_unreadable(), *_unknown_groups(), *_unnameable(), *_unmet([*parts, *hooks]),
        *_shared_names(), *_missing([*parts, *hooks]), *_failed(tried),
    ]  # fmt: skip
    findings = [finding for finding in findings if _is_of(distribution, finding)]
    if distribution is not None and not (parts or hooks or findings):
        findings.append(Finding(distribution, _nothing_of(distribution)))
    return Examination(len(parts), sorted({part.distribution for part in [*parts, *hooks]}), findings, tried)


def _is_of(distribution: str | None, what: Known | Finding) -> bool:
    return distribution is None or canonicalize_name(distribution) == canonicalize_name(what.distribution)


def _nothing_of(distribution: str) -> str:
    try:
        return f"it {absent(distribution, version(distribution))}"
    except PackageNotFoundError:
        names = {part.distribution for part in [*installed(), *advertised_hooks()]}
        return f"it is not installed.{did_you_mean(distribution, names)}"


# -- distributions ---------------------------------------------------------------------------------


def _everything() -> list[Distribution]:
    """All distributions, also those that another one hides."""
    # A folder may be on the path twice, but its distributions count once.
    return list(distributions(path=list(dict.fromkeys(sys.path))))


def _ours() -> list[Distribution]:
    """The distributions with entry points for crl."""
    return [dist for dist in _everything() if any(point.group.startswith("crl.") for point in dist.entry_points)]


def _doubled() -> Iterator[Finding]:
    """Two sets of metadata for one distribution: the first on the path hides the other's parts."""
    ours = {canonicalize_name(identity[0]) for dist in _ours() if (identity := identity_of(dist))}
    named = [(canonicalize_name(identity[0]), dist) for dist in _everything() if (identity := identity_of(dist))]
    for name, pairs in groupby(sorted(named, key=lambda pair: pair[0]), key=lambda pair: pair[0]):
        # sorted() keeps distributions with the same name in the order of the path.
        places = [f"{dist.version} in {dist.locate_file('')}" for _, dist in pairs]
        if name in ours and len(places) > 1:
            yield Finding(
                name,
                f"it is installed {len(places)} times, and the first hides the others: {', '.join(places)}. "
                f"Run: pip uninstall {name}, until it is gone; then install it again",
            )


def _stale() -> Iterator[Finding]:
    """Editable installations whose source is missing, or has other entry points than when it was installed."""
    for dist in _everything():
        identity, folder = identity_of(dist), _source_of(dist)
        if identity is None or folder is None:
            continue
        installed = {(point.group, point.name, _tight(point.value)) for point in dist.entry_points}
        installed = {point for point in installed if point[0] in GROUPS}
        if not folder.is_dir():
            if installed:
                text = f"its editable installation is from {folder}, which is missing. Run: pip uninstall {identity[0]}"
                yield Finding(identity[0], text)
            continue
        written = _written_in(folder / "pyproject.toml")
        if written is not None and written != installed:
            names = ", ".join(sorted({f"{group} {name}" for group, name, _ in written ^ installed}))
            text = f"{folder / 'pyproject.toml'} has changed since it was installed ({names})"
            yield Finding(identity[0], f"{text}. Run: pip install -e {folder}")


def _source_of(dist: Distribution) -> Path | None:
    """The folder of an editable installation; None for others."""
    try:
        origin = json.loads(dist.read_text("direct_url.json") or "{}")
        editable = origin.get("dir_info", {}).get("editable", False)
        return Path(url2pathname(urlsplit(origin["url"]).path)) if editable else None
    except (ValueError, KeyError, AttributeError):
        return None


def _written_in(project: Path) -> set[tuple[str, str, str]] | None:
    """The entry points for crl in a pyproject.toml; None if they are elsewhere, or it can't be read."""
    try:
        table = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
        if "entry-points" in table.get("dynamic", ()):
            return None
        groups = {group: points for group, points in table.get("entry-points", {}).items() if group in GROUPS}
        return {(group, name, _tight(target)) for group, points in groups.items() for name, target in points.items()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None


def _tight(target: Any) -> str:
    return re.sub(r"\s", "", str(target))


def _unreadable() -> Iterator[Finding]:
    for dist in _ours():
        if identity_of(dist) is None:
            folder = str(dist.locate_file(""))
            name = getattr(getattr(dist, "_path", None), "name", folder)  # the only place that has its name
            yield Finding(name, f"its metadata in {folder} are broken, so its parts are not seen. Install it again")


def _unknown_groups() -> Iterator[Finding]:
    for dist in _everything():
        wrong = [
            point for point in dist.entry_points if point.group not in GROUPS and _meant_for_crl(dist, point.group)
        ]
        for point in wrong:
            if identity := identity_of(dist):
                text = f"its entry point group {point.group!r} is not one of crl's, so {point.name!r} is not found"
                yield Finding(identity[0], f"{text}.{did_you_mean(point.group, GROUPS)}")


def _meant_for_crl(dist: Distribution, group: str) -> bool:
    if group.startswith("crl."):
        return True
    if not (group.startswith("crl") or re.match(r"[clr]{3}\W", group)):
        return False
    return any(re.match(r"crl[-_.]core\b", text, re.IGNORECASE) for text in dist.requires or ())


def _unmet(parts: list[Known]) -> Iterator[Finding]:
    ours = core_version()
    for owner, release in sorted({(part.distribution, part.version) for part in parts if part.namespace != CORE}):
        for wanted in unmet(owner, ours):
            yield Finding(
                owner, f"{release} needs {wanted}; this is crl-core {ours}. Run: pip install -U {owner} crl-core"
            )


# -- parts -----------------------------------------------------------------------------------------


def _unnameable() -> Iterator[Finding]:
    for part in installed():
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", part.name):
            text = f"the {part.kind} {part.name!r} can't be named: letters, digits, dots and dashes make a name"
            yield Finding(part.distribution, text)
        if ":" not in part.target:
            text = f"{part.kind} {part.address!r}: {part.target!r} names a module; a part is module:Class"
            yield Finding(part.distribution, text)


def _shared_names() -> Iterator[Finding]:
    everything = installed()
    for part in everything:
        same = [other for other in everything if (other.kind, other.name) == (part.kind, part.name) and other != part]
        if part.target.startswith("crl_core."):  # the former address of a part that has moved to the core
            same = [other for other in same if other.address == part.address or other.target != part.target]
        if any(other.address == part.address for other in same):
            yield Finding(part.distribution, f"{part.kind} {part.address!r} is advertised twice")
        elif part.namespace != CORE and any(other.namespace == CORE for other in same):
            yield Finding(
                part.distribution, f"{part.kind} {part.name!r} alone means the core's: write {part.address!r}"
            )
        elif part.namespace != CORE and same:
            others = ", ".join(f"{other.address} ({other.distribution} {other.version})" for other in same)
            yield Finding(
                part.distribution, f"{part.kind} {part.name!r} alone also means {others}: write {part.address!r}"
            )


def _missing(parts: list[Known]) -> Iterator[Finding]:
    for part in parts:
        lacking = _first_missing(part)
        if lacking is not None:
            what = "module" if "." in lacking.strip(".") else "package"
            text = f"{part.kind} {part.address!r}: there is no {what} {lacking!r} for {part.target}"
            yield Finding(part.distribution, text)


def _first_missing(part: Known) -> str | None:
    """The first package, or the module, of a part that can't be found; it imports none of them."""
    name, found = "", None
    for step in part.target.partition(":")[0].strip().split("."):
        around, name = name, f"{name}.{step}".lstrip(".")
        try:
            found = _spec(name, around, found)
        except (ImportError, ValueError, AttributeError):  # an import might still find it
            return None if name else ""
        if found is None:
            return name
    return None


def _spec(name: str, around: str, package: ModuleSpec | None) -> ModuleSpec | None:
    if name in sys.modules or not around:
        return importlib.util.find_spec(name)
    # importlib's own function would import the package.
    places = package.submodule_search_locations if package else None
    return None if places is None else PathFinder.find_spec(name, list(places))


def _tried(parts: Iterable[Known]) -> list[Imported]:
    """The results of importing the parts that can be found."""
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        return list(pool.map(probe, [part for part in parts if _first_missing(part) is None]))


def _failed(tried: Iterable[Imported]) -> Iterator[Finding]:
    for found in tried:
        # Hooks are of the whole plugin.
        start = "" if found.kind == "hooks" else f"{found.kind} {found.address!r}: "
        yield from (Finding(found.distribution, f"{start}{problem}") for problem in found.problems)
