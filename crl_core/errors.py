"""The errors of crl, and the hint for a misspelt name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CrlError(Exception):
    """An error that a user can correct; the message says what is wrong, where, and what to do."""


class SpecError(CrlError):
    """A wrong value in a spec; the message names the place."""


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """`" Did you mean 'x'?"` for the closest of `names`, or an empty string."""
    close = difflib.get_close_matches(name, sorted(set(names)), n=3, cutoff=0.6)
    return f" Did you mean {', '.join(map(repr, close))}?" if close else ""
