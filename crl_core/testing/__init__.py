"""The conformance kit: what the author of a plugin runs to know that the parts keep their contracts.

The whole test file of a plugin:

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
    """A test for pytest: every part of an installed distribution by every check of its kind, and one that counts.

    Args:
        options: by the part's address, the options that have no default, or a function that returns them.
        examples: by the part's address, a function that returns what the part takes: a `View` of a few
            items for a sampler (as a source gives them) and for an encoder (as a sampler's `clean` gives
            them); a source's `Items`, where rows are not cut from tensors, as those of graphs aren't; or a
            source, for parts that are handed one (`on_source`). For a reader, a list of raw items. A part needs
            none where a source of the same distribution gives data.
        expected_failures: the reason, by `(address, check)`, or by the check alone where it fails for every
            part. A failure that doesn't come is a failure.

    Where two kinds of one distribution share a name, `"head acme/linear"` tells which is meant.
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
