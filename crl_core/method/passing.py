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
from .named import NamedModules


class Pass:
    """Computes the embeddings of branches for some views, one branch after the other.

    Args:
        views: the views, with the columns that `numbered` adds.
        chunk: the number of rows that are encoded at a time.
    """

    def __init__(self, branches: NamedModules[Branch], views: Views, chunk: int | None = None) -> None:
        self.branches, self.views, self.chunk = branches, views, chunk
        self.embeddings: dict[str, Embeddings] = {}
        self._cache: dict[Any, Any] = {}
        self._row = distributed.rank() << 40  # rows of different processes never meet

    def through(self, names: Iterable[str], follow: bool = False) -> dict[str, Embeddings]:
        """All embeddings by branch, after these branches were computed in order; `follow` makes their copies first."""
        for name in names:
            if name in self.embeddings:
                continue
            branch = self.branches[name]
            if follow and branch.tracks:
                branch.follow(self.branches[branch.tracks])
            result = branch(self.views, self.branches, self.embeddings, self._cache, self.chunk)
            shape = result.z.shape[:-1]
            rows = torch.arange(self._row, self._row + math.prod(shape), device=result.z.device).view(shape)
            self._row += math.prod(shape)
            self.embeddings[name] = Embeddings(result.z, {**result.meta, "row": rows}, result.features)
        return self.embeddings

    def let_go(self, names: Iterable[str]) -> None:
        """Frees the activations of these branches, whose gradient has been computed."""
        self._cache.clear()
        for name in names:
            rows = self.embeddings[name]
            features = {key: value.detach() for key, value in rows.features.items()}
            self.embeddings[name] = Embeddings(rows.z.detach(), rows.meta, features)


def numbered(views: Views, positions: Mapping[str, int], step: Tensor) -> dict[str, View]:
    """The views, with the columns `view` and `batch` added.

    Raises:
        CrlError: a view has no columns at all.
    """
    views_with_columns = {name: _with_columns(view, positions.get(name, -1), step) for name, view in views.items()}
    return SameView(views_with_columns) if isinstance(views, SameView) else views_with_columns


def _with_columns(view: View, position: int, step: Tensor) -> View:
    """The view, with the columns `view` and `batch` added.

    Raises:
        CrlError: it has no columns at all.
    """
    if not view.meta:
        raise CrlError("a view needs the column `instance`: View(data, {'instance': torch.arange(len(data))})")
    column = next(iter(view.meta.values()))
    count, device = column.shape[0], column.device  # by shape: `len` would be a constant in an exported graph
    # The addition takes the step from the CPU without synchronising; moving it to a GPU first would synchronise.
    columns = {
        "view": torch.full((count,), position, device=device),
        "batch": torch.zeros(count, dtype=torch.int64, device=device) + step,
    }
    return View(view.data, {**columns, **view.meta}, view.source)


def path_to(name: str, branches: NamedModules[Branch]) -> list[str]:
    """The branches that the branch `name` taps, directly or through others, in order, and the branch itself.

    Raises:
        CrlError: there is no such branch.
    """
    if name not in branches:
        raise CrlError(f"there is no branch {name!r}.{did_you_mean(name, branches)}")
    tap = branches[name].tap
    return [*(path_to(tap.partition(".")[0], branches) if tap else ()), name]


def drifts(branches: NamedModules[Branch]) -> dict[str, float]:
    """The distance of each copied encoder from the encoder that it follows, relative to the norm of the weights."""
    distances = {}
    for name, branch in branches.items():
        if branch.tracks and (encoder := branches[branch.tracks].encoder) is not None and branch.copies:
            distances[f"{name}/drift"] = drift(encoder, branch.copies["encoder"])
    return distances


def follow_loaded(branches: NamedModules[Branch], state: Mapping[str, Any], prefix: str) -> None:
    """Makes the copies that a state has weights for, before the weights are loaded."""
    # A copy is made from the branch that it follows. The lazy layers there are made by loading their weights.
    for name, branch in branches.items():
        if branch.tracks and any(key.startswith(f"{prefix}{name}.copies.") for key in state):
            start = f"{prefix}{branch.tracks}."
            branches[branch.tracks].load_state_dict(
                {key.removeprefix(start): value for key, value in state.items() if key.startswith(start)}
            )
            branch.follow(branches[branch.tracks])


def views_of(name: str, branches: NamedModules[Branch]) -> tuple[str, ...]:
    """The views that a branch reads, directly or through the branches that it taps."""
    return tuple(dict.fromkeys(view for each in path_to(name, branches) for view in branches[each].views))


def representation(
    name: str, branches: NamedModules[Branch], views: Views, embed: Callable[[Views, str], Mapping[str, Embeddings]]
) -> Tensor:
    """The representation of a branch, before its head, `[N, d]`; local features are averaged.

    Raises:
        CrlError: a view that it reads is missing.
    """
    wanted = views_of(name, branches)
    for view in wanted:
        if view not in views:
            raise CrlError(f"branch {name!r} reads the view {view!r}; there are {', '.join(views)}")
    chosen = branches[name]
    if chosen.tap is None and chosen.represents(branches) is not None:
        return chosen.representation(views, branches).mean()
    embeddings = embed(views, name)[name]
    items = next(iter(views[wanted[0]].meta.values()))
    return embeddings.mean()[: items.shape[0]]  # of several views, the rows of the first


def full_precision(batch: View) -> torch.autocast:
    """A context without autocast, on the device of the batch."""
    device = next((column.device.type for column in batch.meta.values()), "cpu")
    return torch.autocast(device_type=device, enabled=False)
