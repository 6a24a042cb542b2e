"""What is wrong with the installed plugins; found from metadata, without importing any."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import distributions
from typing import NamedTuple

from packaging.utils import canonicalize_name

from ..errors import nearest
from .plugins import CORE, KINDS, Known, core_version, known, unmet

_SECONDS = 60  # for importing one part


class Finding(NamedTuple):
    """One thing that is wrong, with whose it is and how to mend it."""

    distribution: str
    problem: str


def examine(distribution: str | None = None, *, imports: bool = False) -> list[Finding]:
    """All findings, or those about one distribution.

    Args:
        imports: also import every part, each in a process of its own.
    """
    parts = [part for part in known() if distribution in (None, part.distribution)]
    findings = [*_doubled(), *_unknown_groups(), *_unmet(parts), *_shared_names(), *_missing(parts), *_hooks(imports)]
    if imports:
        findings += [finding for part in parts if (finding := _imported(part)) is not None]
    if distribution is None:
        return findings
    if not parts and not any(finding.distribution == distribution for finding in findings):
        names = {part.distribution for part in known()}
        findings.append(
            Finding(distribution, f"it advertises no parts, or is not installed.{nearest(distribution, names)}")
        )
    return [finding for finding in findings if finding.distribution == distribution]


def _doubled() -> Iterator[Finding]:
    """Two sets of metadata for one distribution: the first on the path hides the other's parts."""
    everything = [(canonicalize_name(dist.metadata["Name"] or "?"), dist) for dist in distributions()]
    ours = {name for name, dist in everything if any(point.group.startswith("crl.") for point in dist.entry_points)}
    for name, times in sorted(Counter(name for name, _ in everything).items()):
        if name in ours and times > 1:
            text = f"it is installed {times} times, and one hides the other"
            yield Finding(name, f"{text}. Run: pip uninstall {name}, until it is gone; then install it again")


def _unknown_groups() -> Iterator[Finding]:
    right = {f"crl.{kind}" for kind in KINDS} | {"crl.hooks"}
    for dist in distributions():
        for point in dist.entry_points:
            if point.group.startswith("crl.") and point.group not in right:
                text = f"its entry point group {point.group!r} is none of crl's, so {point.name!r} is not seen"
                yield Finding(dist.metadata["Name"], f"{text}.{nearest(point.group, right)}")


def _unmet(parts: list[Known]) -> Iterator[Finding]:
    ours = core_version()
    for owner, release in sorted({(part.distribution, part.version) for part in parts if part.namespace != CORE}):
        for wanted in unmet(owner, ours):
            yield Finding(
                owner, f"{release} needs {wanted}; this is crl-core {ours}. Run: pip install -U {owner} crl-core"
            )


def _shared_names() -> Iterator[Finding]:
    everything = known()
    for part in everything:
        same = [other for other in everything if (other.kind, other.name) == (part.kind, part.name) and other != part]
        if any(other.address == part.address for other in same):
            yield Finding(part.distribution, f"{part.kind} {part.address!r} is advertised twice")
        elif part.namespace != CORE and any(other.namespace == CORE for other in same):
            yield Finding(
                part.distribution, f"{part.kind} {part.name!r} alone means the core's: write {part.address!r}"
            )


def _missing(parts: list[Known]) -> Iterator[Finding]:
    for part in parts:
        # Only the top package: looking further would import it.
        package = part.target.partition(":")[0].partition(".")[0]
        if importlib.util.find_spec(package) is None:
            yield Finding(
                part.distribution, f"{part.kind} {part.address!r}: there is no package {package!r} for {part.target}"
            )


def _hooks(imports: bool) -> Iterator[Finding]:
    if not imports:
        return
    from .hooks import load_hooks

    loaded = load_hooks()
    for owner, error in loaded.failed.items():
        yield Finding(owner, str(error))
    for answers in loaded.manager.hook.crl_doctor():
        yield from (Finding("crl_doctor", text) for text in answers)


def _imported(part: Known) -> Finding | None:
    module, _, attribute = part.target.partition(":")
    code = f"import importlib, operator; operator.attrgetter({attribute!r})(importlib.import_module({module!r}))"
    start = time.perf_counter()
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return Finding(
            part.distribution, f"{part.kind} {part.address!r}: importing {module} took more than {_SECONDS} s"
        )
    if done.returncode == 0:
        return None
    last = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
    spent = time.perf_counter() - start
    return Finding(
        part.distribution,
        f"{part.kind} {part.address!r}: importing {part.target} failed after {spent:.1f} s: {last[0]}",
    )
