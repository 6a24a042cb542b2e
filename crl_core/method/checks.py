"""Checks whether the parts of a pipeline fit together, and whether a training loop calls `on_step`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from ..errors import CrlError, did_you_mean
from .branch import Branch
from .named import NamedModules
from .objective import Term
from .sampling import Sampling


def check(branches: NamedModules[Branch], terms: Sequence[Term], sampling: Sampling) -> None:
    """Whether the parts of a pipeline fit together.

    Raises:
        CrlError: a name is unknown, a branch comes before the branch that it reads, or two terms have the same name.
    """
    seen: list[str] = []
    for name, branch in branches.items():
        if branch.source is not None and branch.source not in seen:
            what = "tracks" if branch.tracks else "taps"
            raise CrlError(
                f"branch {name!r} {what} {branch.source!r}, which isn't one of the branches before it: "
                f"{', '.join(seen) or 'there are none'}.{did_you_mean(branch.source, branches)}"
            )
        if branch.tracks and branches[branch.tracks].encoder is None:
            raise CrlError(f"branch {name!r} tracks {branch.tracks!r}, which has no encoder of its own")
        for view in branch.views:
            if view not in sampling.views:
                raise CrlError(
                    f"branch {name!r} reads the view {view!r}; the sampler draws "
                    f"{', '.join(sampling.views)}.{did_you_mean(view, sampling.views)}"
                )
        seen.append(name)
    for term in terms:
        for name in term.branches:
            if name not in seen:
                close = did_you_mean(name, seen)
                raise CrlError(f"the term {term.name!r} reads branch {name!r}, which is missing.{close}")
        if term.source is not None and sampling.samplers.keys().isdisjoint({term.source, None}):
            there = ", ".join(map(str, sampling.samplers))
            raise CrlError(f"the term {term.name!r} runs on {term.source!r}, which has no sampler; there are {there}")
    names = [term.name for term in terms]
    if len(set(names)) < len(names):
        raise CrlError(f"two terms have the same name among {', '.join(names)}: give each a `name`")


def check_terms(asked: Sequence[str], terms: Sequence[Term]) -> None:
    """Raises CrlError if one of these names isn't the name of a term."""
    names = [term.name for term in terms]
    for name in asked:
        if name not in names:
            raise CrlError(f"there is no term {name!r}; there are {', '.join(names)}.{did_you_mean(name, names)}")


PATIENCE = 100  # so many training losses without a call of on_step give a warning


def warn_of_missing_steps() -> None:
    warnings.warn(
        f"{PATIENCE} training losses without pipeline.on_step(): momentum encoders, memories and schedules don't "
        f"move. Call it after every optimiser.step()",
        stacklevel=4,
    )
