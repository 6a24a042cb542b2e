"""What crl raises, and how it words a near miss."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CrlError(Exception):
    """Something a user can mend; the text says what is wrong, where, and what to do."""


class SpecError(CrlError):
    """A spec that says something it can't; the text names the place."""


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """`" Did you mean 'x'?"` for the nearest of `names`, or an empty string."""
    close = difflib.get_close_matches(name, sorted(set(names)), n=3, cutoff=0.6)
    return f" Did you mean {', '.join(map(repr, close))}?" if close else ""
