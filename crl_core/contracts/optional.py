"""What a part may also do: each of these protocols is optional, and is called where a part has it."""

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
        """Called when a step is given up: drops what its losses have left to be settled by `on_step`."""


@runtime_checkable
class KeepsFiles(Protocol):
    """A part that has learned what is no tensor, such as the model of a tokeniser: kept with the run, and exported."""

    def files(self) -> Mapping[str, bytes]:
        """What it has learned, by the names of files; empty before."""

    def load_files(self, files: Mapping[str, bytes], /) -> None:
        """Takes over what `files` has given."""


@runtime_checkable
class OnSource(Protocol):
    def on_source(self, items: Items, source: Source, /) -> None:
        """Called before the first step with the training items, which may be a stream, and their source.

        Also when a run goes on: what is known already is compared, not made anew with other numbers. What encoding
        needs of it is the part's own state.
        """


@runtime_checkable
class Counts(Protocol):
    @property
    def counts(self) -> Mapping[str, int]:
        """How many of what a source's items name by number there are: nodes, entities, words."""


@runtime_checkable
class OnEpoch(Protocol):
    def on_epoch(self, progress: Progress, embed: Embed, /) -> None:
        """Called before every epoch; `embed(branch)` gives the training items through a branch."""


@runtime_checkable
class Depicts(Protocol):
    def depict(self, view: View, /) -> Tensor:
        """A sampler's items as pictures for a report: bytes `[N, H, W, 3]`."""


@runtime_checkable
class Annotates(Protocol):
    def annotate(self, meta: Mapping[str, Tensor], /) -> Mapping[str, Tensor]:
        """Further columns for rows with these columns; a memory's reach its contrast's queries and keys."""
