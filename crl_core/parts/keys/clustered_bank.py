from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from ... import distributed
from ...clustering import k_means
from ...contracts.parts import Embed, Items, Progress, Source
from ...data.view import Embeddings
from ...errors import CrlError
from .bank import Bank


class ClusteredBank(Bank):
    """A bank whose items are clustered, several times over: its keys and the queries have columns `cluster_0`, ….

    Zhuang et al. 2019 (Local Aggregation), where close neighbours are items that share a cluster in any of the
    clusterings: `positive=same("instance") | same("cluster_0") | same("cluster_1")`. All clusterings are computed again
    from the bank before every epoch.

    >>> import torch
    >>> import crl_core as crl
    >>> bank = crl.ClusteredBank(size=4, clusters=2)
    >>> z = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
    >>> bank.update(crl.Embeddings(z, {"instance": torch.arange(4)}))
    >>> bank.on_epoch(crl.Progress(step=0, steps=100, epoch=1, epochs=10), embed=None)
    >>> cluster = bank.keys().meta["cluster_0"]
    >>> (cluster == cluster[0]).tolist()  # the first two share a cluster, the others don't
    [True, True, False, False]

    Args:
        size, momentum, column, initial: see `Bank`.
        clusters: how many.
        clusterings: how often, each from another start.
        warmup: epochs without clusters, in which no item is in one.

    Raises:
        ValueError: a number is out of its range, or there are more clusters than the size.
        CrlError: there are more clusters than items in the source; see also `Bank`.
    """

    def __init__(
        self,
        size: int | None = None,
        momentum: float = 0.5,
        column: str = "instance",
        initial: Literal["empty", "random"] = "empty",
        clusters: int = 10,
        clusterings: int = 1,
        warmup: int = 0,
    ) -> None:
        super().__init__(size, momentum, column, initial)
        if clusters < 2:
            raise ValueError(f"clusters are 2 or more, not {clusters}")
        if size is not None and clusters > size:
            raise ValueError(f"clusters are at most the bank's {size} items, not {clusters}")
        if clusterings < 1 or warmup < 0:
            raise ValueError(f"clusterings is 1 or more and warmup 0 or more, not {clusterings} and {warmup}")
        self.clusters, self.clusterings, self.warmup = clusters, clusterings, warmup
        self.cluster_of: Tensor  # [clusterings, room]

    def on_source(self, items: Items, source: Source) -> None:
        super().on_source(items, source)
        if self.clusters > self.room:
            raise CrlError(f"clusters are at most the source's {self.room} items, not {self.clusters}")

    @property
    def clustered(self) -> bool:
        return "cluster_of" in self.stored

    def keys(self) -> Embeddings | None:
        held = super().keys()
        return held and Embeddings(held.z, {**held.meta, **self.annotate(held.meta)})

    def annotate(self, meta: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        if self.column not in meta:
            raise CrlError(f"the bank finds an item's clusters by the column {self.column!r}, which is missing")
        item = meta[self.column]
        if not self.clustered:
            return {f"cluster_{i}": torch.full_like(item, -1) for i in range(self.clusterings)}
        known = (item >= 0) & (item < self.room)
        found = torch.where(known, self.cluster_of[:, item * known], -1)
        return {f"cluster_{i}": cluster for i, cluster in enumerate(found)}

    @torch.no_grad()
    def on_epoch(self, progress: Progress, embed: Embed) -> None:
        if progress.epoch < self.warmup or self.filled < self.clusters:
            return
        items = self._seen().nonzero().squeeze(1)
        cluster_of = items.new_full((self.clusterings, self.room), -1)
        for i in range(self.clusterings):
            seed = progress.epoch * self.clusterings + i
            cluster_of[i, items] = distributed.agreed(k_means(self.z[items], self.clusters, seed)[1])
        self.store(cluster_of=cluster_of)
