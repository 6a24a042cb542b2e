"""Optional methods of parts. Each protocol here is called if a part has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from torch import Tensor

from ..data.view import View
from .parts import Embed, Items, Progress, Source


@runtime_checkable
class OnStep(Protocol):
    def on_step(self, progress: Progress, /) -> None:
        """Called after every step of the optimiser."""


@runtime_checkable
class OnAbandon(Protocol):
    def abandon(self) -> None:
        """Called when a step is skipped: drops what waits for `on_step`."""


@runtime_checkable
class KeepsFiles(Protocol):
    """A part that learns something that is not a tensor, such as a vocabulary, which is saved and exported."""

    def files(self) -> Mapping[str, bytes]:
        """What it has learned, as bytes by file name; empty if it has learned nothing yet."""

    def load_files(self, files: Mapping[str, bytes], /) -> None:
        """Restores what `files` returned."""


@runtime_checkable
class OnSource(Protocol):
    def on_source(self, items: Items, source: Source, /) -> None:
        """Called before the first step with the training items, which may be a stream, and their source.

        It is also called when a run is resumed: then the part compares the source with what it learned before.
        Whatever encoding needs has to be in the part's own state.
        """


@runtime_checkable
class Counts(Protocol):
    @property
    def counts(self) -> Mapping[str, int]:
        """The number of nodes, entities or words that a source's items refer to by number."""


@runtime_checkable
class OnEpoch(Protocol):
    def on_epoch(self, progress: Progress, embed: Embed, /) -> None:
        """Called before every epoch; `embed(branch)` returns the embeddings of all training items by a branch."""


@runtime_checkable
class Depicts(Protocol):
    def depict(self, view: View, /) -> Tensor:
        """Pictures of a view's items for the report: bytes `[N, H, W, 3]`."""


@runtime_checkable
class Annotates(Protocol):
    def annotate(self, meta: Mapping[str, Tensor], /) -> Mapping[str, Tensor]:
        """More columns for rows with these columns. A memory's contrast adds them to its queries and keys."""
