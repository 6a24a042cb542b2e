"""Going through the texts of a source."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from crl_core import CrlError

_AT_ONCE = 4_096
_OF_A_STREAM = 1_000_000


def every_text(items: Any) -> Iterator[str]:
    """The raw texts of some items, of both sides of pairs; of a stream, its first million.

    Raises:
        CrlError: an item is no text.
    """
    if hasattr(items, "batches_from"):
        batches = (view for view, _ in items.batches_from(_AT_ONCE, None, 0, 0, 1))
        yield from islice((text for view in batches for text in _texts(view.data)), _OF_A_STREAM)
        return
    for first in range(0, len(items), _AT_ONCE):
        yield from _texts(items.__getitems__(list(range(first, min(first + _AT_ONCE, len(items))))).data)


def _texts(data: Any) -> Iterator[str]:
    sides = data.values() if isinstance(data, dict) else [data]
    for side in sides:
        if not isinstance(side, list):
            raise CrlError(f"a reader of texts learns from lists of texts, not from a {type(side).__name__}")
        for text in side:
            check_text(text)
            yield text


def check_text(text: Any) -> None:
    """Raises CrlError if it is none."""
    if not isinstance(text, str):
        raise CrlError(f"a text is a str, not a {type(text).__name__}: {text!r:.80}")
