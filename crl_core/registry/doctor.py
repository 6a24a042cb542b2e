"""What is wrong with the installed plugins; found from metadata, without importing any."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from typing import Any, NamedTuple

from packaging.utils import canonicalize_name

from ..errors import nearest
from .plugins import CORE, HOOKS, KINDS, Known, advertised_hooks, core_version, identity_of, known, unmet

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
    wanted = distribution and canonicalize_name(distribution)
    parts = [part for part in known() if wanted in (None, canonicalize_name(part.distribution))]
    hooks = [part for part in advertised_hooks() if wanted in (None, canonicalize_name(part.distribution))]
    findings = [
        *_doubled(), *_unreadable(), *_unknown_groups(), *_unmet([*parts, *hooks]), *_shared_names(),
        *_missing([*parts, *hooks]), *_hooks(imports),
    ]  # fmt: skip
    if imports:
        findings += [finding for part in parts if (finding := _imported(part)) is not None]
    if distribution is None:
        return findings
    found = [finding for finding in findings if canonicalize_name(finding.distribution) == wanted]
    if not (parts or hooks or found):
        names = {part.distribution for part in known()}
        text = f"it advertises nothing that crl uses, or is not installed.{nearest(distribution, names)}"
        found.append(Finding(distribution, text))
    return found


def _everything() -> list[Distribution]:
    """Every distribution, also where another hides it."""
    # A folder that is twice on the path holds nothing twice.
    return list(distributions(path=list(dict.fromkeys(sys.path))))


def _ours() -> list[Distribution]:
    """Those that say something to crl."""
    return [dist for dist in _everything() if any(point.group.startswith("crl.") for point in dist.entry_points)]


def _doubled() -> Iterator[Finding]:
    """Two sets of metadata for one distribution: the first on the path hides the other's parts."""
    ours, every = (
        [canonicalize_name(identity[0]) for dist in found if (identity := identity_of(dist))]
        for found in (_ours(), _everything())
    )
    for name, times in sorted(Counter(every).items()):
        if name in ours and times > 1:
            text = f"it is installed {times} times, and one hides the other"
            yield Finding(name, f"{text}. Run: pip uninstall {name}, until it is gone; then install it again")


def _unreadable() -> Iterator[Finding]:
    for dist in _ours():
        if identity_of(dist) is None:
            folder = str(dist.locate_file(""))
            name = getattr(getattr(dist, "_path", None), "name", folder)  # the one place where its name still stands
            yield Finding(name, f"its metadata in {folder} are broken, so its parts are not seen. Install it again")


def _unknown_groups() -> Iterator[Finding]:
    right = {f"crl.{kind}" for kind in KINDS} | {HOOKS}
    for dist in _ours():
        for point in dist.entry_points:
            if point.group.startswith("crl.") and point.group not in right and (identity := identity_of(dist)):
                text = f"its entry point group {point.group!r} is none of crl's, so {point.name!r} is not seen"
                yield Finding(identity[0], f"{text}.{nearest(point.group, right)}")


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
        package = part.target.partition(":")[0].partition(".")[0].strip()
        if not package or (package not in sys.modules and importlib.util.find_spec(package) is None):
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
    for hook in loaded.manager.hook.crl_doctor.get_hookimpls():
        owner = loaded.owners[hook.plugin_name]
        try:
            said: Any = hook.function()
            answers = [str(text) for text in said or ()]
        except Exception as error:
            answers = [f"its hook crl_doctor raised {type(error).__name__}: {error}"]
        yield from (Finding(owner, text) for text in answers)


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
