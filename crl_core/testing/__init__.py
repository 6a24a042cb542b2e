"""The conformance kit: checks for the author of a plugin that its parts follow their contracts.

A plugin needs only this test file:

    from crl_core.testing import conformance

    test_conformance = conformance("crl-acme")
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .given import Examples, ExpectedFailures, Options

__all__ = ["conformance"]


def conformance(
    distribution: str,
    *,
    options: Options | None = None,
    examples: Examples | None = None,
    expected_failures: ExpectedFailures | None = None,
) -> Callable[..., None]:
    """A test for pytest: all checks of its kind for each part of a distribution, and one that counts the checks.

    Args:
        options: by the part's address, the options without a default, or a function that returns them.
        examples: by the part's address, a function that returns an input of the part: for a sampler, a `View` of a
            few items from a source; for an encoder, a `View` from a sampler's `clean`; a source's `Items`, if
            rows can't be selected from tensors, as for graphs; a source, for parts with `on_source`; for a
            reader, a list of raw items. A part needs no example if a source of the same distribution has
            data for it.
        expected_failures: the reason, by `(address, check)`, or by the check alone if it fails for all
            parts. An expected failure that doesn't happen is a failure.

    If two kinds of a distribution have parts of the same name, write the kind too: `"head acme/linear"`.
    """
    import pytest

    from .plugin import Plugin
    from .run import Counted, Session

    session = Session(Plugin(distribution, options or {}, examples or {}, expected_failures or {}))

    @pytest.mark.parametrize("task", [pytest.param(task, id=task.id) for task in session.tasks()])
    def test_conformance(task: Any) -> None:
        outcome = session.outcome(task)
        if outcome.state == "skipped":
            pytest.skip(outcome.text)
        if outcome.state == "expected":
            pytest.xfail(outcome.text)
        if outcome.state == "failed":
            if outcome.error is not None and not isinstance(task, Counted):
                raise outcome.error
            pytest.fail(outcome.text, pytrace=False)

    setattr(test_conformance, "plugin", session.plugin)  # noqa: B010
    found: Callable[..., None] = test_conformance
    return found
