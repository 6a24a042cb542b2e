from __future__ import annotations

from typing import ClassVar

from crl_core import View


class Unchanged:
    """The items as they are, in one view `graph`: the pairs of a method are then parts and whole of one item."""

    views: ClassVar[tuple[str, ...]] = ("graph",)

    def __call__(self, batch: View) -> dict[str, View]:
        return {"graph": batch}

    def clean(self, batch: View) -> View:
        return batch
