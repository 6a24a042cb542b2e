from __future__ import annotations

from typing import ClassVar

from crl_core import View


class Unchanged:
    """The items without augmentation, in one view `graph`: for methods whose pairs are parts and whole of one item.

    >>> from crl_graph.samplers.unchanged import Unchanged
    >>> from crl_graph.sources.families import Families
    >>> batch = Families(count=2).items("train").__getitems__([0, 1])
    >>> Unchanged()(batch)["graph"] is batch
    True
    """

    views: ClassVar[tuple[str, ...]] = ("graph",)

    def __call__(self, batch: View) -> dict[str, View]:
        return {"graph": batch}

    def clean(self, batch: View) -> View:
        return batch
