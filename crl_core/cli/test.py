"""crl test: the conformance kit without pytest."""

from __future__ import annotations

import argparse
import json
import runpy
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
from packaging.utils import canonicalize_name

from ..errors import CrlError
from ..testing.outcome import Outcome
from ..testing.plugin import Plugin
from ..testing.run import Session, as_data, passes

_SIGNS = {"passed": "✓", "failed": "✗", "skipped": "–", "expected": "x"}


def run_test(options: argparse.Namespace) -> int:
    session = Session(_plugin(options))
    if options.json:
        print(json.dumps(as_data(session), indent=1, ensure_ascii=False))
    else:
        for line in report(session, shutil.get_terminal_size().columns, options.verbose):
            print(line)
    return 0 if passes(session) else 1


def _plugin(options: argparse.Namespace) -> Plugin:
    if options.examples is None:
        return Plugin(options.distribution, {}, {}, {}, options.only)
    return attrs.evolve(_written(Path(options.examples), options.distribution), only=options.only)


def _written(path: Path, distribution: str) -> Plugin:
    """The plugin of a test file that calls `conformance` for a distribution.

    Raises:
        CrlError: there is no such file, or it has no such call.
    """
    if not path.is_file():
        raise CrlError(f"there is no file {path}: --examples takes a test file that calls conformance(…)")
    sys.path.insert(0, str(path.parent))  # for imports from the same folder, as in pytest
    for value in runpy.run_path(str(path)).values():
        plugin = getattr(value, "plugin", None)
        if isinstance(plugin, Plugin) and canonicalize_name(plugin.distribution) == canonicalize_name(distribution):
            return plugin
    raise CrlError(f"{path} has no test = conformance({distribution!r}, …)")


def report(session: Session, width: int, reasons: bool = False) -> Iterator[str]:
    """A table of checks and parts for each kind, the messages of failures, and the counts.

    Args:
        reasons: whether to print why checks were skipped, and why failures were expected.
    """
    *outcomes, counted = session.outcomes()
    for kind in dict.fromkeys(outcome.part.kind for outcome in outcomes):
        yield from _table(kind, [outcome for outcome in outcomes if outcome.part.kind == kind], width)
    if reasons:
        told = (outcome for outcome in outcomes if outcome.state in ("skipped", "expected"))
        yield from (f"{_SIGNS[o.state]} {o.part.kind} {o.part.address}: {o.check}: {o.text}" for o in told)
    failed = [outcome for outcome in [*outcomes, counted] if outcome.state == "failed"]
    for outcome in failed:
        yield f"✗ {outcome.text}\n"
    states = [outcome.state for outcome in outcomes]
    parts = len({(outcome.part.kind, outcome.part.address) for outcome in outcomes})
    counts = ", ".join(f"{states.count(state)} {state}" for state in _SIGNS if state in states) or "no checks"
    yield f"{session.plugin.distribution}: {parts} {'part' if parts == 1 else 'parts'}, {counts}" + (
        ", too few ran" if counted.text else ""
    )


def _table(kind: str, outcomes: Sequence[Outcome], width: int) -> Iterator[str]:
    """A table with a row per check and a column per part, split so that it fits the width."""
    names = list(dict.fromkeys(outcome.part.name for outcome in outcomes))
    checks = list(dict.fromkeys(outcome.check for outcome in outcomes))
    sign = {(outcome.part.name, outcome.check): _SIGNS[outcome.state] for outcome in outcomes}
    first = max(map(len, [kind, *checks]))
    while names:
        shown = _fitting(names, width - first)
        names = names[len(shown) :]
        yield f"{kind:<{first}}  " + "  ".join(shown)
        for check in checks:
            yield f"{check:<{first}}  " + "  ".join(f"{sign[name, check]:^{len(name)}}" for name in shown).rstrip()
        yield ""


def _fitting(names: Sequence[str], width: int) -> list[str]:
    """As many names as fit in one line; at least one."""
    shown: list[str] = []
    for name in names:
        if shown and sum(len(other) + 2 for other in [*shown, name]) > width:
            break
        shown.append(name)
    return shown
