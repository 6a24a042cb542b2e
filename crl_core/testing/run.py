"""Every part of a distribution by every check of its kind, and the count of what ran."""

from __future__ import annotations

import socket
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NamedTuple

import attrs
import torch

from ..errors import did_you_mean
from ..registry import KINDS, Known
from .checks import CHECKS, MINIMUM, Check
from .outcome import Fails, Outcome, Skips
from .plugin import Case, Plugin

COUNTS = "counts"  # the name of the check that counts the others


class Task(NamedTuple):
    """One check of one part."""

    case: Case
    check: Check

    @property
    def id(self) -> str:
        return f"{self.case.part.kind}/{self.case.part.name}:{self.check.__name__}"


class Counted(NamedTuple):
    """The check that the others ran."""

    id: str = COUNTS


@attrs.frozen(eq=False)
class Session:
    """One run of the kit. Every task is done once, when somebody asks for its outcome."""

    plugin: Plugin

    @cached_property
    def _done(self) -> dict[str, Outcome]:
        return {}

    def tasks(self) -> list[Task | Counted]:
        """All there is to do; metadata tell, nothing is imported."""
        cases = self.plugin.cases.values()
        return [*(Task(case, check) for case in cases for check in CHECKS[case.part.kind]), Counted()]

    def outcome(self, task: Task | Counted) -> Outcome:
        if task.id not in self._done:
            self._done[task.id] = self._counted() if isinstance(task, Counted) else self._checked(task)
        return self._done[task.id]

    def outcomes(self) -> list[Outcome]:
        """Of all tasks; the count comes last."""
        return [self.outcome(task) for task in self.tasks()]

    def _checked(self, task: Task) -> Outcome:
        found = self._found(task)
        reason = self._expected(task)
        if reason is None or found.state == "skipped":
            return found
        if found.state == "failed":
            return found._replace(state="expected", text=reason)
        text = f"it passes, and is expected to fail ({reason}): take it out of expected_failures"
        return found._replace(state="failed", text=text)

    def _expected(self, task: Task) -> str | None:
        expected, name = self.plugin.expected_failures, task.check.__name__
        keys = ((task.case.label, name), (task.case.part.address, name), name)
        return next((expected[key] for key in keys if key in expected), None)

    def _found(self, task: Task) -> Outcome:
        case, name = task.case, task.check.__name__
        whose = f"{case.label}: {name}: {promise(task.check)}\n  "
        if name not in _OF_IMPORTS and self.plugin.imported[case.label].error is not None:
            return Outcome(case.part, name, "skipped", "it can't be loaded")
        try:
            with _alone():
                task.check(case)
        except Skips as reason:
            return Outcome(case.part, name, "skipped", str(reason))
        except Fails as broken:
            return Outcome(case.part, name, "failed", f"{whose}{broken}")
        except Exception as error:
            if _by_network(error):
                return Outcome(case.part, name, "skipped", "it needs the network, which checks don't have")
            notes = "".join(f"\n  {note}" for note in getattr(error, "__notes__", ()))
            error.add_note(whose.strip())
            return Outcome(case.part, name, "failed", f"{whose}it raises {type(error).__name__}: {error}{notes}", error)
        return Outcome(case.part, name, "passed")

    def _counted(self) -> Outcome:
        wrong = [
            *self._nothing(),
            *self._unknown(),
            *(text for case in self.plugin.cases.values() for text in self._few(case)),
        ]
        nobody = Known("", "", "", "", self.plugin.distribution, "")
        return Outcome(nobody, COUNTS, "failed" if wrong else "passed", "\n".join(wrong))

    def _nothing(self) -> Iterator[str]:
        if not self.plugin.parts:
            yield (
                f"{self.plugin.distribution} advertises no part: is it installed, and has it an entry point in a group "
                f"crl.<kind> ({', '.join(KINDS)})? Run: crl doctor {self.plugin.distribution}"
            )

    def _unknown(self) -> Iterator[str]:
        """Names of parts and checks that the author gives and nobody has."""
        names = {name for case in self.plugin.cases.values() for name in (case.label, case.part.address)}
        checks = {check.__name__ for case in self.plugin.cases.values() for check in CHECKS[case.part.kind]}
        if self.plugin.only is not None:
            return
        for table in ("options", "examples"):
            for name in sorted(set(getattr(self.plugin, table)) - names):
                close = did_you_mean(name, names)
                yield f"{table} name {name!r}, which {self.plugin.distribution} doesn't have.{close}"
        for key in self.plugin.expected_failures:
            part, check = (None, key) if isinstance(key, str) else key
            if part is not None and part not in names:
                yield f"expected_failures name {part!r}, which is no part of it.{did_you_mean(part, names)}"
            if check not in checks:
                yield f"expected_failures name the check {check!r}, which there is not.{did_you_mean(check, checks)}"

    def _few(self, case: Case) -> Iterator[str]:
        """Whether as many checks ran as have to for this kind."""
        outcomes = [self.outcome(Task(case, check)) for check in CHECKS[case.part.kind]]
        ran = sum(outcome.state != "skipped" for outcome in outcomes)
        if ran < MINIMUM[case.part.kind]:
            skipped = "".join(f"\n  {o.check}: {o.text}" for o in outcomes if o.state == "skipped")
            yield (
                f"{case.label}: only {ran} checks ran, and for this kind it takes {MINIMUM[case.part.kind]}. "
                f"These did not:{skipped}"
            )


_OF_IMPORTS = ("loads", "importing_changes_nothing", "package_is_light")


def promise(check: Check) -> str:
    """What a check promises: the first line of its text."""
    return (check.__doc__ or "").strip().partition("\n")[0]


class _NoNetwork(OSError):
    pass


def _by_network(error: BaseException | None) -> bool:
    """Whether the wish for the network is among an error's causes."""
    while error is not None:
        if isinstance(error, _NoNetwork) or "checks have no network" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def _alone() -> Iterator[None]:
    """What a check does stays its own: random numbers, default dtype, warnings. And it has no network."""

    def refuse(*_: Any) -> Any:
        raise _NoNetwork("checks have no network")

    dtype, connect, look_up = torch.get_default_dtype(), socket.socket.connect, socket.getaddrinfo
    try:
        socket.socket.connect, socket.getaddrinfo = refuse, refuse  # type: ignore[method-assign,assignment]
        with torch.random.fork_rng([]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.manual_seed(0)
            yield
    finally:
        socket.socket.connect, socket.getaddrinfo = connect, look_up  # type: ignore[method-assign]
        torch.set_default_dtype(dtype)


def as_data(session: Session) -> Mapping[str, Any]:
    """What a run found, as JSON knows it."""
    *outcomes, counted = session.outcomes()
    found = [
        {"kind": o.part.kind, "address": o.part.address, "check": o.check, "state": o.state, "text": o.text}
        for o in outcomes
    ]
    states = [outcome.state for outcome in outcomes]
    return {
        "distribution": session.plugin.distribution,
        "versions": sorted({part.version for part in session.plugin.parts}),
        "passes": passes(session),
        "count": {state: states.count(state) for state in ("passed", "failed", "skipped", "expected")},
        "counting": counted.text,
        "outcomes": found,
    }


def passes(session: Session) -> bool:
    return not any(outcome.state == "failed" for outcome in session.outcomes())
