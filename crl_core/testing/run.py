"""Runs all checks of its kind on each part of a distribution, and counts them."""

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
    """The check that enough other checks ran."""

    id: str = COUNTS


@attrs.frozen(eq=False)
class Session:
    """One run of the kit. Each task is done once, when its outcome is first needed."""

    plugin: Plugin

    @cached_property
    def _done(self) -> dict[str, Outcome]:
        return {}

    def tasks(self) -> list[Task | Counted]:
        """All tasks, from metadata; nothing is imported."""
        cases = self.plugin.cases.values()
        return [*(Task(case, check) for case in cases for check in CHECKS[case.part.kind]), Counted()]

    def outcome(self, task: Task | Counted) -> Outcome:
        if task.id not in self._done:
            self._done[task.id] = self._counted() if isinstance(task, Counted) else self._checked(task)
        return self._done[task.id]

    def outcomes(self) -> list[Outcome]:
        """The outcomes of all tasks; the count comes last."""
        return [self.outcome(task) for task in self.tasks()]

    def _checked(self, task: Task) -> Outcome:
        found = self._found(task)
        reason = self._expected(task)
        if reason is None or found.state == "skipped":
            return found
        if found.state == "failed":
            return found._replace(state="expected", text=reason)
        text = f"it passes, but is expected to fail ({reason}): remove it from expected_failures"
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
                f"{self.plugin.distribution} has no parts: is it installed, and has it an entry point in a group "
                f"crl.<kind> ({', '.join(KINDS)})? Run: crl doctor {self.plugin.distribution}"
            )

    def _unknown(self) -> Iterator[str]:
        """Names of parts and checks from the author that don't exist."""
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
                yield f"expected_failures name {part!r}, which is not one of its parts.{did_you_mean(part, names)}"
            if check not in checks:
                yield f"expected_failures name the check {check!r}, which doesn't exist.{did_you_mean(check, checks)}"

    def _few(self, case: Case) -> Iterator[str]:
        """An error if fewer checks ran than this kind needs."""
        outcomes = [self.outcome(Task(case, check)) for check in CHECKS[case.part.kind]]
        ran = sum(outcome.state != "skipped" for outcome in outcomes)
        if ran < MINIMUM[case.part.kind]:
            skipped = "".join(f"\n  {o.check}: {o.text}" for o in outcomes if o.state == "skipped")
            yield (
                f"{case.label}: only {ran} checks ran, but this kind needs {MINIMUM[case.part.kind]}. "
                f"These did not run:{skipped}"
            )


_OF_IMPORTS = ("loads", "importing_changes_nothing", "package_is_light")


def promise(check: Check) -> str:
    """The promise that a check tests: the first line of its docstring."""
    return (check.__doc__ or "").strip().partition("\n")[0]


class _NoNetwork(OSError):
    pass


def _by_network(error: BaseException | None) -> bool:
    """Whether the use of the network is among the causes of an error."""
    while error is not None:
        if isinstance(error, _NoNetwork) or "checks have no network" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def _alone() -> Iterator[None]:
    """A check can't change random numbers, the default dtype or warnings for others, and it has no network."""

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
    """The outcomes of a run as data for JSON."""
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
