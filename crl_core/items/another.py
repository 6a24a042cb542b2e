"""A source that is made of another one, and its items: what they don't change is the other's."""

from __future__ import annotations

from typing import Any

from ..contracts.parts import Items, Source
from ..data.view import View


class AnotherSource:
    """Splits, evaluators and counts of the other source."""

    def __init__(self, source: Source) -> None:
        self.source = source

    @property
    def splits(self) -> tuple[str, ...]:
        return self.source.splits

    def __getattr__(self, name: str) -> Any:
        if name in ("evaluators", "counts"):  # which not every source has
            return getattr(self.source, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


class AnotherItems:
    """The other source's items, by the same numbers."""

    def __init__(self, items: Items) -> None:
        self.inner = items

    def __len__(self) -> int:
        return len(self.inner)

    def __getitems__(self, indices: list[int]) -> View:
        return self.inner.__getitems__(indices)
