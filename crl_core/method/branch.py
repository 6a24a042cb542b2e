"""A branch: a path from views to embeddings, through an encoder and a head."""

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
from .named import NamedModules


class Branch(nn.Module):
    """A path from views to embeddings: an encoder and a head, its own or those of another branch.

    >>> import torch
    >>> import crl_core as crl
    >>> online = crl.Branch("a", encoder=torch.nn.Linear(8, 8))
    >>> target = crl.Branch("b", tracks="online", update=crl.Momentum(0.99))
    >>> target.update.gradient
    False

    Args:
        view: the view that it reads, or several. One encoder reads several views one below the other;
            with a mapping of encoders, each reads its view, and the head joins their features.
        encoder: its own encoder, or a mapping of view to encoder.
        head: its own head; without one, the embeddings are the output of the encoder.
        tracks: the branch whose encoder it uses, and whose head, unless it has its own. `update` says how.
        tap: the branch whose embeddings it reads instead of a view; `"name.feature"` for one of
            the named features of that branch.
        update: how it gets the weights or embeddings of the branch in `tracks` or `tap`; Shared() by default. With
            an encoder of its own, Frozen() keeps this encoder constant, while the head trains.
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
            raise CrlError("a branch has exactly one of: view, tap")
        self.view = view if view is None or isinstance(view, str) else tuple(view)
        self.tracks, self.tap = tracks, tap
        self.encoder = self._own(encoder)
        self.head = None if head is None else make("head", head)
        self.update: Update = Shared() if update is None else make("update", update)
        self.copies: NamedModules[nn.Module] = NamedModules()
        if self.encoder is not None and not isinstance(self.update, (Shared, Frozen)):
            raise CrlError(f"{type(self.update).__name__} needs another branch: name it in `tracks`")
        if self.encoder is not None and self.update.frozen:
            self.encoder.requires_grad_(False)
        self.train(self.training)

    def _own(self, encoder: Any) -> nn.Module | None:
        if not isinstance(encoder, Mapping):
            return None if encoder is None else make("encoder", encoder)
        if set(encoder) != set(self.views):
            raise CrlError(f"encoders for {', '.join(encoder)}, but the branch reads {', '.join(self.views)}")
        return NamedModules({name: make("encoder", part) for name, part in encoder.items()})

    @property
    def views(self) -> tuple[str, ...]:
        return () if self.view is None else (self.view,) if isinstance(self.view, str) else self.view

    @property
    def source(self) -> str | None:
        """The branch that it tracks or taps."""
        return self.tracks or (self.tap.partition(".")[0] if self.tap else None)

    def follow(self, tracked: Branch) -> None:
        """Makes the copies that `update` needs. The lazy layers of `tracked` must have been made."""
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
        branches: Mapping[str, Branch] | NamedModules[Branch],
        embeddings: Mapping[str, Embeddings],
        cache: dict[Any, Any],
        chunk: int | None = None,
    ) -> Embeddings:
        """The embeddings of `views`.

        Args:
            branches: all branches, by name.
            embeddings: the embeddings of the branches before this one, by name.
            cache: results of encoders in this step, for branches that share an encoder and a view.
            chunk: the number of rows that are encoded at a time.
        """
        tracked = self if self.tracks is None else branches[self.tracks]
        head = self.head or self.copies.get("head") or tracked.head
        # A frozen encoder, and networks of another branch, have a gradient only if `update.gradient` is True.
        # A head of its own always trains.
        inherited = torch.is_grad_enabled() and self.update.gradient
        with torch.set_grad_enabled(inherited):
            if self.tap is not None:
                encoded = _tapped(self.tap, embeddings, detach=not self.update.gradient)
            else:
                encoder = self.copies.get("encoder") or tracked.encoder
                encoded = self._encode(encoder, views, cache, chunk)
        with torch.set_grad_enabled(torch.is_grad_enabled() if head is self.head else inherited):
            return encoded if head is None else _project(head, encoded)

    def represents(self, branches: Mapping[str, Branch] | NamedModules[Branch]) -> nn.Module | None:
        """The encoder whose output is the representation; None if a head makes it, from a tap or several encoders."""
        tracked = self if self.tracks is None else branches[self.tracks]
        encoder = self.copies.get("encoder") or tracked.encoder
        return None if isinstance(encoder, NamedModules) else encoder

    def representation(self, views: Views, branches: Mapping[str, Branch] | NamedModules[Branch]) -> Embeddings:
        """The output of that encoder for the first view of this branch."""
        encoder = self.represents(branches)
        assert encoder is not None
        view = views[self.views[0]]
        return _as_embeddings(encoder(view.data), view.meta)

    def _encode(self, encoder: nn.Module | None, views: Views, cache: dict[Any, Any], chunk: int | None) -> Embeddings:
        if isinstance(encoder, NamedModules):
            parts = {name: _run(encoder[name], views[name], (name,), cache, chunk) for name in self.views}
            first, *_ = parts.values()
            return Embeddings(first.z, first.meta, {name: part.z for name, part in parts.items()})
        assert encoder is not None
        return _run(encoder, _stacked(self.views, views), self.views, cache, chunk)


def _run(
    encoder: nn.Module, view: View, names: tuple[str, ...], cache: dict[Any, Any], chunk: int | None
) -> Embeddings:
    # Branches that share an encoder and a view also share its output.
    key = (id(encoder), names, torch.is_grad_enabled())
    if key not in cache:
        output: Output = encoder(view.data) if chunk is None else in_chunks(encoder, view.data, chunk)
        encoded = _as_embeddings(output, view.meta)
        cache[key] = Embeddings(encoded.z, encoded.meta, {"representation": encoded.z, **encoded.features})
    found: Embeddings = cache[key]
    return found


def _project(head: nn.Module, encoded: Embeddings) -> Embeddings:
    named = {name: value for name, value in encoded.features.items() if name != "representation"}
    projected = _as_embeddings(head(named or encoded.z), encoded.meta)
    return Embeddings(projected.z, projected.meta, {**encoded.features, **projected.features})


def _as_embeddings(output: Output, meta: Mapping[str, Tensor]) -> Embeddings:
    """The output of a part as `Embeddings`, with the columns of its input."""
    if isinstance(output, Tensor):
        return Embeddings(output, meta)
    if isinstance(output, Embeddings):
        # If the part returns other rows than it gets, the old columns don't fit, and it returns new ones.
        fitting = {name: column for name, column in meta.items() if len(column) == len(output)}
        return Embeddings(output.z, {**fitting, **output.meta}, output.features)
    # Several named features: the last one is the deepest.
    return Embeddings(list(output.values())[-1], meta, output)


def _tapped(tap: str, embeddings: Mapping[str, Embeddings], detach: bool) -> Embeddings:
    name, _, feature = tap.partition(".")
    tapped = embeddings[name]
    if feature and feature not in tapped.features:
        raise CrlError(
            f"the tap {tap!r}: branch {name!r} computes no feature {feature!r}; it has "
            f"{', '.join(tapped.features)}.{did_you_mean(feature, tapped.features)}"
        )
    z = tapped.features[feature] if feature else tapped.z
    return Embeddings(z.detach() if detach else z, tapped.meta)


def _stacked(names: tuple[str, ...], views: Views) -> View:
    """Several views as one, with their rows one below the other; a clean view that stands for all of them, once."""
    first = views[names[0]]
    if isinstance(views, SameView):
        return first
    try:
        return View.join([views[name] for name in names])
    except (CrlError, RuntimeError) as error:
        raise CrlError(
            f"the views {', '.join(names)} can't be stacked for one encoder: give each a branch of its own. {error}"
        ) from None
