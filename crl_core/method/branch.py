"""A branch: from views to embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..contracts.parts import Encoder, Head, Output, Progress, Update
from ..data.view import Embeddings, SameView, View, Views
from ..errors import CrlError, did_you_mean
from ..parts.updates.frozen import Frozen
from ..parts.updates.shared import Shared
from ..registry import make
from .chunked import in_chunks
from .named import Named


class Branch(nn.Module):
    """One way from views to embeddings: an encoder and a head, its own or taken from another branch.

    >>> import torch
    >>> import crl_core as crl
    >>> online = crl.Branch("a", encoder=torch.nn.Linear(8, 8))
    >>> target = crl.Branch("b", tracks="online", update=crl.Momentum(0.99))
    >>> target.update.gradient
    False

    Args:
        view: the view it reads. Of several views, one encoder reads all, their rows one below the
            other; a mapping of encoders reads one view each, and the head joins their features.
        encoder: its own encoder, or a mapping of view to encoder.
        head: its own head; without one, the embeddings are what the encoder returns.
        tracks: the branch whose encoder (and head, unless it has its own) it uses, by `update`.
        tap: the branch whose embeddings it reads instead of a view; `"name.feature"` for one of
            the named features that were computed there.
        update: how it gets what it takes from `tracks` or `tap`; Shared() by default. With an
            encoder of its own, Frozen() keeps that encoder as it is, while its head trains.
    """

    def __init__(
        self,
        view: str | Sequence[str] | None = None,
        *,
        encoder: Encoder | type[Encoder] | str | Mapping[str, Encoder | type[Encoder] | str] | None = None,
        head: Head | type[Head] | str | None = None,
        tracks: str | None = None,
        tap: str | None = None,
        update: Update | type[Update] | str | None = None,
    ) -> None:
        super().__init__()
        if sum(origin is not None for origin in (encoder, tracks, tap)) != 1:
            raise CrlError("a branch has exactly one of: encoder (its own), tracks (another's), tap (another's output)")
        if (tap is None) == (view is None):
            raise CrlError("a branch reads either a view, or a tap of another branch")
        self.view = view if view is None or isinstance(view, str) else tuple(view)
        self.tracks, self.tap = tracks, tap
        self.encoder = self._own(encoder)
        self.head = None if head is None else make("head", head)
        self.update: Update = Shared() if update is None else make("update", update)
        self.copies: Named[nn.Module] = Named()
        if self.encoder is not None and not isinstance(self.update, (Shared, Frozen)):
            raise CrlError(f"{type(self.update).__name__} needs another branch to follow: name it in `tracks`")
        if self.encoder is not None and self.update.frozen:
            self.encoder.requires_grad_(False)
        self.train(self.training)

    def _own(self, encoder: Any) -> nn.Module | None:
        if not isinstance(encoder, Mapping):
            return None if encoder is None else make("encoder", encoder)
        if set(encoder) != set(self.views):
            raise CrlError(f"encoders for {', '.join(encoder)}, but the branch reads {', '.join(self.views)}")
        return Named({name: make("encoder", part) for name, part in encoder.items()})

    @property
    def views(self) -> tuple[str, ...]:
        return () if self.view is None else (self.view,) if isinstance(self.view, str) else self.view

    @property
    def source(self) -> str | None:
        """The branch on which it depends."""
        return self.tracks or (self.tap.partition(".")[0] if self.tap else None)

    def follow(self, tracked: Branch) -> None:
        """Makes the copies that `update` asks for; `tracked` has been built."""
        for name, module in (("encoder", tracked.encoder), ("head", None if self.head else tracked.head)):
            if module is not None and name not in self.copies:
                follower = self.update.follow(module)
                if follower is not module:
                    self.copies[name] = follower
        self.train(self.training)

    def advance(self, tracked: Branch, progress: Progress) -> None:
        for name, follower in self.copies.items():
            self.update.advance(getattr(tracked, name), follower, progress)

    def train(self, mode: bool = True) -> Branch:
        super().train(mode)
        if self.update.frozen:
            for module in (*self.copies.values(), self.encoder):
                if module is not None:
                    module.eval()
        return self

    def forward(
        self,
        views: Views,
        branches: Mapping[str, Branch] | Named[Branch],
        table: Mapping[str, Embeddings],
        cache: dict[Any, Any],
        chunk: int | None = None,
    ) -> Embeddings:
        """The embeddings of `views`.

        Args:
            branches: all branches, by name, and `table`: the embeddings of those before this one.
            cache: what encoders have already computed in this step.
            chunk: rows that are encoded at a time.
        """
        tracked = self if self.tracks is None else branches[self.tracks]
        head = self.head or self.copies.get("head") or tracked.head
        # What it takes from elsewhere, or keeps frozen, has a gradient only if `update` says so;
        # a head of its own always trains.
        inherited = torch.is_grad_enabled() and self.update.gradient
        with torch.set_grad_enabled(inherited):
            if self.tap is not None:
                encoded = _tapped(self.tap, table, detach=not self.update.gradient)
            else:
                encoder = self.copies.get("encoder") or tracked.encoder
                encoded = self._encode(encoder, views, cache, chunk)
        with torch.set_grad_enabled(torch.is_grad_enabled() if head is self.head else inherited):
            return encoded if head is None else _project(head, encoded)

    def represents(self, branches: Mapping[str, Branch] | Named[Branch]) -> nn.Module | None:
        """The one encoder whose output is the representation; None where a head makes it, of a tap or of several."""
        tracked = self if self.tracks is None else branches[self.tracks]
        encoder = self.copies.get("encoder") or tracked.encoder
        return None if isinstance(encoder, Named) else encoder

    def representation(self, views: Views, branches: Mapping[str, Branch] | Named[Branch]) -> Embeddings:
        """What the one encoder makes of items, of which it reads its first view."""
        encoder = self.represents(branches)
        assert encoder is not None
        view = views[self.views[0]]
        return _table(encoder(view.data), view.meta)

    def _encode(self, encoder: nn.Module | None, views: Views, cache: dict[Any, Any], chunk: int | None) -> Embeddings:
        if isinstance(encoder, Named):
            parts = {name: _run(encoder[name], views[name], (name,), cache, chunk) for name in self.views}
            first, *_ = parts.values()
            return Embeddings(first.z, first.meta, {name: part.z for name, part in parts.items()})
        assert encoder is not None
        return _run(encoder, _stacked(self.views, views), self.views, cache, chunk)


def _run(
    encoder: nn.Module, view: View, names: tuple[str, ...], cache: dict[Any, Any], chunk: int | None
) -> Embeddings:
    # Branches that share an encoder and a view share what it computes.
    key = (id(encoder), names, torch.is_grad_enabled())
    if key not in cache:
        output: Output = encoder(view.data) if chunk is None else in_chunks(encoder, view.data, chunk)
        encoded = _table(output, view.meta)
        cache[key] = Embeddings(encoded.z, encoded.meta, {"representation": encoded.z, **encoded.features})
    found: Embeddings = cache[key]
    return found


def _project(head: nn.Module, encoded: Embeddings) -> Embeddings:
    named = {name: value for name, value in encoded.features.items() if name != "representation"}
    projected = _table(head(named or encoded.z), encoded.meta)
    return Embeddings(projected.z, projected.meta, {**encoded.features, **projected.features})


def _table(output: Output, meta: Mapping[str, Tensor]) -> Embeddings:
    """What a part returned, with the columns of the rows that it was given."""
    if isinstance(output, Tensor):
        return Embeddings(output, meta)
    if isinstance(output, Embeddings):
        # A part that makes other rows than it was given brings their columns.
        kept = {name: column for name, column in meta.items() if len(column) == len(output)}
        return Embeddings(output.z, {**kept, **output.meta}, output.features)
    # Several named features: the last is the deepest.
    return Embeddings(list(output.values())[-1], meta, output)


def _tapped(tap: str, table: Mapping[str, Embeddings], detach: bool) -> Embeddings:
    name, _, feature = tap.partition(".")
    found = table[name]
    if feature and feature not in found.features:
        raise CrlError(
            f"the tap {tap!r}: branch {name!r} computes no feature {feature!r}; it has "
            f"{', '.join(found.features)}.{did_you_mean(feature, found.features)}"
        )
    z = found.features[feature] if feature else found.z
    return Embeddings(z.detach() if detach else z, found.meta)


def _stacked(names: tuple[str, ...], views: Views) -> View:
    """Several views as one, their rows one below the other; what stands for all of them, once."""
    first = views[names[0]]
    if isinstance(views, SameView):
        return first
    try:
        return View.join([views[name] for name in names])
    except (CrlError, RuntimeError) as error:
        raise CrlError(
            f"the views {', '.join(names)} can't be stacked for one encoder: give each a branch of its own. {error}"
        ) from None
