"""Where parts stand in a pipeline, in the words of its spec; and a pipeline with one of them exchanged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from torch import nn

from ..errors import CrlError, did_you_mean
from ..registry import make
from ..registry.options import kind_of, signature
from .branch import Branch
from .contrast import Contrast
from .named import NamedModules
from .objective import Penalty

HOLDERS = (Branch, Contrast, Penalty)  # the pieces of a pipeline that hold parts


class Slot(NamedTuple):
    """One place for a part.

    `part` is None if the place is empty; `same_as` is the earlier place of the same object.
    """

    kind: str
    part: Any
    same_as: str | None


def slots(pipeline: Any) -> dict[str, Slot]:
    """Every place of a pipeline, in the order of its spec."""
    by_place: dict[str, Slot] = {}
    first: dict[int, str] = {}
    for place, kind, part in _standing(pipeline, ""):
        by_place[place] = Slot(kind, part, first.get(id(part)))
        if isinstance(part, nn.Module):
            first.setdefault(id(part), place)
    return by_place


def _standing(holder: Any, place: str) -> Iterator[tuple[str, str, Any]]:
    for name, hint in signature(type(holder)).items():
        yield from _in(getattr(holder, name), f"{place}.{name}".lstrip("."), kind_of(hint))


def _in(value: Any, place: str, kind: str | None) -> Iterator[tuple[str, str, Any]]:
    if isinstance(value, (dict, NamedModules)):
        for name, inner in value.items():
            yield from _in(inner, f"{place}.{name}", kind)
    elif isinstance(value, (list, tuple, nn.ModuleList)):
        for i, inner in enumerate(value):
            yield from _in(inner, f"{place}.{i}", kind)
    elif isinstance(value, HOLDERS):
        yield from _standing(value, place)
    elif kind is not None:
        yield place, kind, value


def the_place(name: str, found: Mapping[str, Slot]) -> str:
    """The place that `name` means: either `name` is a place, or a kind, of which there is only one part.

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
        raise CrlError(f"{name!r} is at {len(candidates)} places: name one of {', '.join(candidates)}")
    raise CrlError(f"there is no place {name!r}; there are {', '.join(found)}.{did_you_mean(name, found)}")


def replaced(pipeline: Any, place: str, part: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a pipeline like this one, with another part at one place; see `Pipeline.replace`."""
    places = slots(pipeline)
    at = the_place(place, places)
    kind = places[at].kind
    new = None if part is None and kind in ("head", "reader") else make(kind, part, **options)
    # A place with `same_as` gets the new part of the place that it names.
    changes = {name: new for name, slot in places.items() if at in (name, slot.same_as)}
    branches: dict[str, Branch] = {}
    for name, branch in pipeline.branches.items():
        tracked = (pipeline.branches[branch.tracks], branches[branch.tracks]) if branch.tracks else (branch, branch)
        branches[name] = _branch(branch, _below(f"branches.{name}", changes), *tracked)
    for i, contrast in enumerate(pipeline.contrasts):
        if _below(f"contrasts.{i}", changes):
            contrast.settle()  # its memories may stay, so they get the keys that wait
    options_now = {name: _changed(getattr(pipeline, name), name, changes) for name in signature(type(pipeline))}
    return {**options_now, "branches": branches}


def _below(place: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(f"{place}."): part for name, part in changes.items() if name.startswith(f"{place}.")}


def _changed(value: Any, place: str, changes: Mapping[str, Any]) -> Any:
    """The value of an option with the changes at and below its place; the same object if there are none."""
    if place in changes:
        return changes[place]
    if isinstance(value, (list, tuple, nn.ModuleList)):
        return [_changed(inner, f"{place}.{i}", changes) for i, inner in enumerate(value)]
    below = _below(place, changes)
    if not below:
        return dict(value.items()) if isinstance(value, NamedModules) else value
    if isinstance(value, (dict, NamedModules)):
        return {name: _changed(inner, f"{place}.{name}", changes) for name, inner in value.items()}
    cls = type(value)
    changed = cls(**{name: _changed(getattr(value, name), name, below) for name in signature(cls)})
    if isinstance(changed, Contrast) and changed.back is not None:
        changed.back.load_state_dict(value.back.state_dict())
    return changed


def _branch(branch: Branch, changes: Mapping[str, Any], before: Branch, after: Branch) -> Branch:
    """The branch with other parts; `before` and `after` are the branch that it tracks, before and after the changes."""
    if not changes and before is after:
        return branch
    changed = Branch(**{name: _changed(getattr(branch, name), name, changes) for name in signature(Branch)})
    if changed.encoder is not None and branch.update.frozen and not changed.update.frozen:
        changed.encoder.requires_grad_(True)
    for name, copied in branch.copies.items():
        # A copy stays if it follows the same module with the same update.
        if changed.update is branch.update and getattr(before, name) is getattr(after, name):
            changed.copies[name] = copied
    return changed
