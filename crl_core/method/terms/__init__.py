"""How a contrast computes its term: one file for each value of its loss's `takes`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ...errors import CrlError, did_you_mean
from . import of_batch, of_pairs, of_scores
from .term import Contrasting, Sides, TermValue

TERMS: Mapping[str, Callable[[Contrasting, Sides], TermValue]] = {
    "scores": of_scores.term,
    "pairs": of_pairs.term,
    "batch": of_batch.term,
}


def term_of(takes: str, loss: str) -> Callable[[Contrasting, Sides], TermValue]:
    """The function that computes a contrast's term.

    Raises:
        CrlError: a contrast can't have a loss that takes this.
    """
    if takes == "embeddings":
        raise CrlError(f"{loss} takes one branch's embeddings: put it in a Penalty")
    if takes not in TERMS:
        raise CrlError(f"{loss} takes {takes!r}; a loss takes {', '.join(TERMS)}.{did_you_mean(takes, TERMS)}")
    return TERMS[takes]
