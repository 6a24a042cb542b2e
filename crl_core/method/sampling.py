"""From a batch of items to views: raw items through the reader, and the batch through its source's sampler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..contracts.parts import Items, Reader, Sampler, Source, Stream
from ..data.view import SameView, View, Views
from ..errors import CrlError
from ..items.another import AnotherItems


def is_raw(data: Any) -> bool:
    """Whether it is raw items, for a reader: a list of them, or a mapping of lists (two sides of pairs)."""
    if isinstance(data, Mapping):
        return bool(data) and all(isinstance(side, list) for side in data.values())
    return isinstance(data, (list, tuple))


class Sampling(NamedTuple):
    """A reader, and samplers by the names of their sources; a sampler for all sources has the name None."""

    samplers: Mapping[str | None, Sampler]
    reader: Reader | None

    @property
    def views(self) -> tuple[str, ...]:
        """The names of all views that the samplers draw."""
        return tuple(dict.fromkeys(name for sampler in self.samplers.values() for name in sampler.views))

    def sampler_of(self, batch: View) -> Sampler:
        """The sampler for the batch's source.

        Raises:
            CrlError: there is none.
        """
        if None in self.samplers:
            return self.samplers[None]
        name = batch.source or next(iter(self.samplers))  # a user's own batch has no source
        if name not in self.samplers:
            names = ", ".join(map(str, self.samplers))
            raise CrlError(f"there is no sampler for the source {name!r}; there are {names}")
        return self.samplers[name]

    def read(self, batch: View | Sequence[Any]) -> View:
        """A batch for the sampler: raw items go through the reader.

        Raises:
            CrlError: there are raw items, and no reader.
        """
        if isinstance(batch, View) and not is_raw(batch.data):
            return batch
        if self.reader is None:
            what = type(batch.data if isinstance(batch, View) else batch).__name__
            raise CrlError(f"a batch is a View, View(data, {{'instance': …}}), not a {what}; raw items need a `reader`")
        if not isinstance(batch, View):
            return self.reader(list(batch))
        if isinstance(batch.data, Mapping):
            sides = {name: self.reader(items) for name, items in batch.data.items()}
            return View({name: side.data for name, side in sides.items()}, batch.meta, batch.source)
        read = self.reader(list(batch.data))
        return View(read.data, {**read.meta, **batch.meta}, batch.source)

    def draw(self, batch: View | Sequence[Any]) -> Views:
        """The random views of a batch."""
        batch = self.read(batch)
        return self.sampler_of(batch)(batch)

    def clean(self, batch: View | Sequence[Any]) -> Views:
        """The clean views of a batch, with nothing random; one view under all names if the sampler returns one."""
        batch = self.read(batch)
        sampler = self.sampler_of(batch)
        cleaned = sampler.clean(batch)
        return SameView.fromkeys(sampler.views, cleaned) if isinstance(cleaned, View) else cleaned


class ReadItems(AnotherItems):
    """The items of a source as the reader reads them."""

    def __init__(self, items: Items, sampling: Sampling) -> None:
        super().__init__(items)
        self.sampling = sampling

    def __getitems__(self, indices: list[int]) -> View:
        return self.sampling.read(super().__getitems__(indices))


class ReadSource:
    """A source as parts are handed it: raw items have been read, and what the reader counts is counted."""

    def __init__(self, source: Source, sampling: Sampling) -> None:
        self.source, self.sampling = source, sampling

    @property
    def splits(self) -> tuple[str, ...]:
        return self.source.splits

    @property
    def counts(self) -> dict[str, int]:
        return {**getattr(self.source, "counts", {}), **getattr(self.sampling.reader, "counts", {})}

    def items(self, split: str) -> Items | Stream:
        items = self.source.items(split)
        return items if isinstance(items, Stream) else ReadItems(items, self.sampling)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)
