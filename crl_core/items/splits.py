"""The splits of a source."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import CrlError, did_you_mean


def check_split(split: str, splits: Iterable[str]) -> str:
    """Returns the split, if it is one of these.

    >>> check_split("test", ("train", "test"))
    'test'

    Raises:
        CrlError: it isn't.
    """
    names = tuple(splits)
    if split not in names:
        raise CrlError(f"no split {split!r}; there are {', '.join(names)}.{did_you_mean(split, names)}")
    return split
