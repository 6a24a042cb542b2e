"""Where parts stand in a pipeline, in the words of its spec; and a pipeline with one of them exchanged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import attrs
from torch import nn

from .branch import Branch
from .contrast import Contrast
from .errors import CrlError, did_you_mean
from .named import Named
from .pipeline import Penalty, Pipeline
from .protocols import Sampler
from .registry import make
from .spec import ContrastSpec, PenaltySpec


class Slot(NamedTuple):
    """One place for a part.

    `part` is None where there is none; `same_as` is the earlier place where the very same part stands.
    """

    kind: str
    part: Any
    same_as: str | None


def slots(pipeline: Pipeline) -> dict[str, Slot]:
    """Every place of a pipeline, in the order of its spec."""
    standing: list[tuple[str, str, Any]] = [("sampler", "sampler", pipeline.sampler)]
    for name, branch in pipeline.branches.items():
        at = f"branches.{name}"
        if isinstance(branch.encoder, Named):
            standing += [(f"{at}.encoder.{view}", "encoder", part) for view, part in branch.encoder.items()]
        elif branch.encoder is not None:
            standing.append((f"{at}.encoder", "encoder", branch.encoder))
        standing += [(f"{at}.head", "head", branch.head), (f"{at}.update", "update", branch.update)]
    for i, contrast in enumerate(pipeline.contrasts):
        standing += [(f"contrasts.{i}.{kind}", kind, getattr(contrast, kind)) for kind in ("score", "loss", "memory")]
    standing += [(f"penalties.{i}.loss", "loss", penalty.loss) for i, penalty in enumerate(pipeline.penalties)]
    found: dict[str, Slot] = {}
    first: dict[int, str] = {}
    for place, kind, part in standing:
        found[place] = Slot(kind, part, first.get(id(part)))
        if isinstance(part, nn.Module):
            first.setdefault(id(part), place)
    return found


def the_place(name: str, found: Mapping[str, Slot]) -> str:
    """The place that `name` means: itself, or of a kind's name the only place with such a part.

    Raises:
        CrlError: there is no such place, or there are several.
    """
    if name in found:
        return name
    of_kind = {place: slot for place, slot in found.items() if slot.kind == name}
    filled = [place for place, slot in of_kind.items() if slot.part is not None and slot.same_as is None]
    candidates = filled or list(of_kind)
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise CrlError(f"{name!r} stands at {len(candidates)} places: name one of {', '.join(candidates)}")
    raise CrlError(f"there is no place {name!r}; there are {', '.join(found)}.{did_you_mean(name, found)}")


def replaced(pipeline: Pipeline, place: str, part: Any, options: Mapping[str, Any]) -> Pipeline:
    """See `Pipeline.replace`."""
    found = slots(pipeline)
    at = the_place(place, found)
    kind = found[at].kind
    new = None if part is None and kind == "head" else make(kind, part, **options)
    # What the spec writes as `same_as` follows the place that it names.
    changes: dict[str, Any] = {name: new for name, slot in found.items() if at in (name, slot.same_as)}
    branches: dict[str, Branch] = {}
    for name, branch in pipeline.branches.items():
        tracked = (pipeline.branches[branch.tracks], branches[branch.tracks]) if branch.tracks else (branch, branch)
        branches[name] = _branch(branch, _below(f"branches.{name}", changes), *tracked)
    sampler: Sampler = changes.get("sampler", pipeline.sampler)
    made = Pipeline(
        sampler,
        branches=branches,
        contrasts=[_contrast(part, _below(f"contrasts.{i}", changes)) for i, part in enumerate(pipeline.contrasts)],
        penalties=[_penalty(part, _below(f"penalties.{i}", changes)) for i, part in enumerate(pipeline.penalties)],
    )
    made.batches = pipeline.batches
    return made.train(pipeline.training)


def _below(place: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(f"{place}."): part for name, part in changes.items() if name.startswith(f"{place}.")}


def _branch(branch: Branch, changes: Mapping[str, Any], before: Branch, after: Branch) -> Branch:
    """The branch with other parts; `before` and `after` are the branch that it tracks, as it was and as it is now."""
    if not changes and before is after:
        return branch
    encoder: Any = branch.encoder
    if isinstance(encoder, Named):
        encoder = {view: changes.get(f"encoder.{view}", part) for view, part in encoder.items()}
    made = Branch(
        branch.view,
        encoder=changes.get("encoder", encoder),
        head=changes.get("head", branch.head),
        tracks=branch.tracks,
        tap=branch.tap,
        update=changes.get("update", branch.update),
    )
    if made.encoder is not None and branch.update.frozen and not made.update.frozen:
        made.encoder.requires_grad_(True)
    for name, copied in branch.copies.items():
        # A copy stays as long as it follows the same module, in the same way.
        if made.update is branch.update and getattr(before, name) is getattr(after, name):
            made.copies[name] = copied
    return made


def _contrast(contrast: Contrast, changes: Mapping[str, Any]) -> Contrast:
    if not changes:
        return contrast
    contrast.remember()  # the memory may stay, and gets what it is due
    return Contrast(**{**_fields(contrast, ContrastSpec), **changes})


def _penalty(penalty: Penalty, changes: Mapping[str, Any]) -> Penalty:
    return Penalty(**{**_fields(penalty, PenaltySpec), **changes}) if changes else penalty


def _fields(term: Contrast | Penalty, cls: type[ContrastSpec | PenaltySpec]) -> dict[str, Any]:
    return {field.name: getattr(term, field.name) for field in attrs.fields(cls)}
