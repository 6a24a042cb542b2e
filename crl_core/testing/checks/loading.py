"""Checks of the import of a part."""

from __future__ import annotations

import inspect

from ..outcome import expect
from ..plugin import Case


def loads(case: Case) -> None:
    """It can be imported, in its own process."""
    error = case.plugin.imported[case.label].error
    expect(error is None, f"importing {case.part.target}: {error}")


def importing_changes_nothing(case: Case) -> None:
    """Importing it changes no global state: random numbers, dtype, threads, paths, warnings."""
    changed = case.plugin.imported[case.label].changed
    expect(
        not changed,
        f"importing {case.part.target} changes {', '.join(changed)}: do this when the part is used",
    )


def package_is_light(case: Case) -> None:
    """The package alone imports no torch, so that commands that look at it are fast."""
    package = case.part.target.partition(":")[0].partition(".")[0]
    expect(not case.plugin.imported[case.label].heavy, f"`import {package}` imports torch: keep its __init__.py empty")


def says_what_it_is(case: Case) -> None:
    """It has a docstring, which `crl info` shows."""
    # Not an inherited one, and not the signature that attrs and dataclasses make up.
    expect(bool((inspect.getdoc(case.cls) or "").strip()) and bool(case.cls.__doc__), "it has no docstring")
