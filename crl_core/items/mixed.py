"""Several sources in one run; each batch comes from one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import attrs
import torch
from torch import Tensor

from ..contracts.parts import Items, OrdersItself, Source, Stream
from ..data.view import View
from ..errors import CrlError, did_you_mean
from .another import AnotherSource
from .order import ordered
from .splits import check_split

_MixingLaw = Literal["turn", "size"]


class Mixed:
    """Several sources by name; each batch comes from one of them, and `View.source` is its name.

    A pipeline has a sampler for each source (`sampler={"pairs": …, "masked": …}`). A contrast with `source="pairs"`
    runs only on batches of that source.

    >>> import torch
    >>> import crl_core as crl
    >>> class Points:
    ...     splits = ("train",)
    ...     items = lambda self, split: crl.InMemory(torch.randn(8, 4))
    >>> items = crl.Mixed({"pairs": Points(), "masked": Points()}, by="turn").items("train")
    >>> [items.__getitems__(batch).source for batch in items.batches(4, torch.Generator())]
    ['pairs', 'masked', 'pairs', 'masked']

    Args:
        sources: the sources by name. The splits for testing are those of the first one.
        by: "turn" takes a batch of each source in turn, until one has no more; "size" takes all batches of all
            sources, in random order; weights by name draw the source of each batch at random, for as many batches as
            all sources have, and begin a source again when it has no more.

    Raises:
        CrlError: there are fewer than two sources, or a weight is not of one of them.
    """

    def __init__(self, sources: dict[str, Source], by: _MixingLaw | dict[str, float] = "turn") -> None:
        if len(sources) < 2:
            raise CrlError(f"a mixture needs at least two sources, not {', '.join(sources) or 'none'}")
        if isinstance(by, str) and by not in ("turn", "size"):
            raise CrlError(f'by is "turn", "size" or a weight for each source, not {by!r}')
        if isinstance(by, Mapping):
            for name, weight in by.items():
                if name not in sources or not weight > 0:
                    raise CrlError(f"{name!r} with weight {weight!r} is no source.{did_you_mean(name, sources)}")
            if set(by) != set(sources):
                raise CrlError(f"each source needs a weight: {', '.join(sorted(set(sources) - set(by)))} has none")
        self.sources, self.by = sources, by

    @property
    def splits(self) -> tuple[str, ...]:
        first = next(iter(self.sources.values()))
        return ("train", *first.splits[1:])

    @property
    def evaluators(self) -> Sequence[str] | None:
        """The evaluators of the first source, if it names some."""
        return getattr(next(iter(self.sources.values())), "evaluators", None)

    @property
    def counts(self) -> dict[str, int]:
        """The counts of all sources; if two count the same, the larger number."""
        counts: dict[str, int] = {}
        for source in self.sources.values():
            for name, count in getattr(source, "counts", {}).items():
                counts[name] = max(count, counts.get(name, 0))
        return counts

    def items(self, split: str) -> Items:
        check_split(split, self.splits)
        if split != "train":
            name, first = next(iter(self.sources.items()))
            return MixedItems({name: first.items(split)}, "size")
        parts = {name: source.items(source.splits[0]) for name, source in self.sources.items()}
        for name, items in parts.items():
            if isinstance(items, Stream):
                raise CrlError(f"the source {name!r} is a stream, which can't be mixed with others")
        return MixedItems(parts, self.by)

    def only(self, name: str) -> OneSource:
        """One of the sources, with its name in its batches: to evaluate branches that read it."""
        return OneSource(name, self.sources[name])


class OneSource(AnotherSource):
    """One source of a mixture."""

    def __init__(self, name: str, source: Source) -> None:
        super().__init__(source)
        self.name = name

    def items(self, split: str) -> Items:
        return MixedItems({self.name: self.source.items(split)}, "size")


@attrs.frozen(eq=False)
class MixedItems:
    """The items of several sources, numbered one after the other."""

    parts: dict[str, Items]
    by: _MixingLaw | dict[str, float]

    def __len__(self) -> int:
        return sum(map(len, self.parts.values()))

    def __getitems__(self, indices: list[int]) -> View:
        """The items of a batch, which are all of one source."""
        first = 0
        for name, items in self.parts.items():
            if first <= min(indices) and max(indices) < first + len(items):
                batch = items.__getitems__([index - first for index in indices])
                return View(batch.data, batch.meta, name)
            first += len(items)
        raise CrlError(f"items {min(indices)} to {max(indices)} are not of one source")

    def apart(self) -> list[Items]:
        """The items of each source."""
        return [MixedItems({name: items}, "size") for name, items in self.parts.items()]

    def batches(self, batch_size: int, generator: torch.Generator) -> Sequence[Sequence[int] | Tensor]:
        """The batches of all sources, in the order that `by` sets."""
        own, first = [], 0
        for items in self.parts.values():
            own.append(_Shifted(_batches(items, batch_size, generator), first))
            first += len(items)
        return _Picked(own, self._turns([len(each) for each in own], generator))

    def _turns(self, lengths: list[int], generator: torch.Generator) -> Tensor:
        """The number of the source of each batch in the epoch."""
        if self.by == "turn":
            return torch.arange(len(lengths)).repeat(min(lengths))
        if self.by == "size":
            every = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
            return every[torch.randperm(len(every), generator=generator)]
        assert isinstance(self.by, Mapping)
        weights = torch.tensor([float(self.by[name]) for name in self.parts])
        return torch.multinomial(weights, sum(lengths), replacement=True, generator=generator)


def _batches(items: Items, size: int, generator: torch.Generator) -> Sequence[Sequence[int] | Tensor]:
    if isinstance(items, OrdersItself):
        return items.batches(size, generator)
    return ordered(torch.randperm(len(items), generator=generator), min(size, len(items)))


@attrs.frozen(eq=False)
class _Shifted:
    """The batches of one source, with its offset added to the indices."""

    batches: Any
    first: int

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, place: int) -> list[int]:
        return [int(index) + self.first for index in self.batches[place]]


class _Picked(Sequence[Any]):
    """Batch i is the next one of source `turns[i]`, which begins again when it has no more."""

    def __init__(self, own: list[_Shifted], turns: Tensor) -> None:
        self.own, self.turns = own, turns
        one_hot = torch.nn.functional.one_hot(turns, len(own))
        self.place = (one_hot.cumsum(0) - one_hot).gather(1, turns.unsqueeze(1)).squeeze(1)

    def __len__(self) -> int:
        return len(self.turns)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        which = self.own[int(self.turns[index])]
        return which[int(self.place[index]) % len(which)]
