"""One pass of a batch's views through the branches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from .. import distributed
from ..data.view import Embeddings, SameView, View, Views
from ..errors import CrlError, did_you_mean
from ..look.diagnosis import drift
from .branch import Branch
from .named import Named


class Pass:
    """What the branches make of some views, one after the other as they are asked for.

    Args:
        views: with the columns that every row has, see `numbered`.
        chunk: rows that are encoded at a time.
    """

    def __init__(self, branches: Named[Branch], views: Views, chunk: int | None = None) -> None:
        self.branches, self.views, self.chunk = branches, views, chunk
        self.table: dict[str, Embeddings] = {}
        self._cache: dict[Any, Any] = {}
        self._row = distributed.rank() << 40  # rows of different processes never meet

    def through(self, names: Iterable[str], follow: bool = False) -> dict[str, Embeddings]:
        """The table with these branches, each after those that it reads; with `follow`, copies are made on the way."""
        for name in names:
            if name in self.table:
                continue
            branch = self.branches[name]
            if follow and branch.tracks:
                branch.follow(self.branches[branch.tracks])
            found = branch(self.views, self.branches, self.table, self._cache, self.chunk)
            shape = found.z.shape[:-1]
            rows = torch.arange(self._row, self._row + math.prod(shape), device=found.z.device).view(shape)
            self._row += math.prod(shape)
            self.table[name] = Embeddings(found.z, {**found.meta, "row": rows}, found.features)
        return self.table

    def let_go(self, names: Iterable[str]) -> None:
        """Frees what was kept for the gradient of these branches, which has been computed."""
        self._cache.clear()
        for name in names:
            found = self.table[name]
            features = {key: value.detach() for key, value in found.features.items()}
            self.table[name] = Embeddings(found.z.detach(), found.meta, features)


def numbered(views: Views, positions: Mapping[str, int], step: Tensor) -> dict[str, View]:
    """The views with the columns that every row has.

    Raises:
        CrlError: one has no columns at all.
    """
    found = {name: _with_columns(view, positions.get(name, -1), step) for name, view in views.items()}
    return SameView(found) if isinstance(views, SameView) else found


def _with_columns(view: View, position: int, step: Tensor) -> View:
    """The view with the columns that every row has.

    Raises:
        CrlError: it has no columns at all.
    """
    if not view.meta:
        raise CrlError("a view has at least the column `instance`: View(data, {'instance': torch.arange(len(data))})")
    column = next(iter(view.meta.values()))
    count, device = column.shape[0], column.device  # by shape: `len` would be a constant in an exported graph
    # Added, a number on the CPU goes along with the step, where moved to a GPU it would be waited for.
    columns = {
        "view": torch.full((count,), position, device=device),
        "batch": torch.zeros(count, dtype=torch.int64, device=device) + step,
    }
    return View(view.data, {**columns, **view.meta}, view.source)


def path_to(name: str, branches: Named[Branch]) -> list[str]:
    """The branches whose embeddings `name` reads, one after the other, and itself.

    Raises:
        CrlError: there is no such branch.
    """
    if name not in branches:
        raise CrlError(f"there is no branch {name!r}.{did_you_mean(name, branches)}")
    tap = branches[name].tap
    return [*(path_to(tap.partition(".")[0], branches) if tap else ()), name]


def drifts(branches: Named[Branch]) -> dict[str, float]:
    """How far each copied encoder is from what it follows, relative to its weights."""
    found = {}
    for name, branch in branches.items():
        if branch.tracks and (encoder := branches[branch.tracks].encoder) is not None and branch.copies:
            found[f"{name}/drift"] = drift(encoder, branch.copies["encoder"])
    return found


def follow_loaded(branches: Named[Branch], state: Mapping[str, Any], prefix: str) -> None:
    """Makes the copies that a state has weights for; before they are loaded."""
    # Copies are made from what they follow, which may itself be made by the weights that it loads.
    for name, branch in branches.items():
        if branch.tracks and any(key.startswith(f"{prefix}{name}.copies.") for key in state):
            start = f"{prefix}{branch.tracks}."
            branches[branch.tracks].load_state_dict(
                {key.removeprefix(start): value for key, value in state.items() if key.startswith(start)}
            )
            branch.follow(branches[branch.tracks])


def views_of(name: str, branches: Named[Branch]) -> tuple[str, ...]:
    """The views that a branch reads, itself or by what it taps."""
    return tuple(dict.fromkeys(view for each in path_to(name, branches) for view in branches[each].views))


def representation(
    name: str, branches: Named[Branch], views: Views, embed: Callable[[Views, str], Mapping[str, Embeddings]]
) -> Tensor:
    """What a branch makes of the views before its head, `[N, d]`; local features are averaged.

    Raises:
        CrlError: a view that it reads is missing.
    """
    wanted = views_of(name, branches)
    for view in wanted:
        if view not in views:
            raise CrlError(f"branch {name!r} reads the view {view!r}; there are {', '.join(views)}")
    found = branches[name]
    if found.tap is None and found.represents(branches) is not None:
        return found.representation(views, branches).mean()
    table = embed(views, name)[name]
    items = next(iter(views[wanted[0]].meta.values()))
    return table.mean()[: items.shape[0]]  # of several views, those of the first


def full_precision(batch: View) -> torch.autocast:
    """A context without autocast, on the device of the batch."""
    device = next((column.device.type for column in batch.meta.values()), "cpu")
    return torch.autocast(device_type=device, enabled=False)
