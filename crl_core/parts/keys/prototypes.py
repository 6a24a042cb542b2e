from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from ... import distributed
from ...clustering import k_means
from ...contracts.parts import Embed, Progress
from ...data.view import Embeddings
from .stored import Stored


class Prototypes(Stored):
    """Cluster centres of all training items, each divided by its concentration φ, computed again before every epoch.

    Li et al. 2021 (PCL), equations 11 and 12. With a dot product as score, InfoNCE as loss, and queries of length 1 it
    is ProtoNCE; the paper adds the mean of several such terms, with different numbers of clusters, to MoCo's loss. A
    prototype has one column, `cluster`, and rows whose instance was clustered get that column too. Prototypes have no
    gradient. The clusters come from plain k-means with one start; the authors' code keeps the best of five.

    >>> import crl_core as crl
    >>> contrast = crl.Contrast("query", keys=crl.Prototypes(1000), loss=crl.InfoNCE(), positive=crl.same("cluster"))
    >>> contrast.keys[0].keys() is None  # before the first epoch after the warm-up
    True

    Args:
        clusters: how many.
        branch: the branch whose embeddings of the training items are clustered, by their directions.
        temperature: the mean of φ.
        warmup: epochs without prototypes, in which the term is 0.

    Raises:
        ValueError: a number is out of its range.
    """

    def __init__(self, clusters: int, branch: str = "key", temperature: float = 0.2, warmup: int = 20) -> None:
        super().__init__()
        if clusters < 2:
            raise ValueError(f"clusters is 2 or more, not {clusters}")
        if not temperature > 0:
            raise ValueError(f"a temperature is above 0, not {temperature!r}")
        if warmup < 0:
            raise ValueError(f"warmup is 0 or more epochs, not {warmup}")
        self.clusters, self.branch, self.temperature, self.warmup = clusters, branch, temperature, warmup
        self.centroids: Tensor
        self.concentrations: Tensor
        self.cluster_of: Tensor

    def keys(self) -> Embeddings | None:
        if not self.stored:
            return None
        cluster = torch.arange(self.clusters, device=self.centroids.device)
        return Embeddings(self.centroids / self.concentrations.unsqueeze(1), {"cluster": cluster})

    def update(self, keys: Embeddings) -> None:
        """Prototypes change between epochs only."""

    def annotate(self, meta: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        if not self.stored:
            return {}
        item = meta["instance"]
        known = (item >= 0) & (item < len(self.cluster_of))
        return {"cluster": torch.where(known, self.cluster_of[item * known], -1)}

    @torch.no_grad()
    def on_epoch(self, progress: Progress, embed: Embed) -> None:
        if progress.epoch < self.warmup:
            return
        table = embed(self.branch)
        z, item = F.normalize(table.z, dim=1), table.meta["instance"]
        centres, cluster = map(distributed.agreed, k_means(z, self.clusters, seed=progress.epoch))
        cluster_of = cluster.new_full((int(item.max()) + 1,), -1)
        cluster_of[item] = cluster
        self.store(
            centroids=F.normalize(centres, dim=1),
            concentrations=concentration(z, centres, cluster, self.temperature),
            cluster_of=cluster_of,
        )


def concentration(z: Tensor, centres: Tensor, cluster: Tensor, temperature: float) -> Tensor:
    """φ `[K]`: low where many rows lie close around their centre (Li et al. 2021, equation 12).

    As in the authors' code, a cluster of one row gets the highest, what lies beyond the tenths at both ends is cut
    off, and all are scaled to the mean `temperature`.
    """
    count = torch.bincount(cluster, minlength=len(centres)).to(z.dtype)
    total = torch.zeros_like(count).index_add_(0, cluster, (z - centres[cluster]).norm(dim=1))
    phi = total / (count * (count + 10).log()).clamp(min=1)
    phi = torch.where(count > 1, phi, phi.max()).clamp(min=1e-12)
    phi = phi.clamp(phi.quantile(0.1), phi.quantile(0.9))
    return temperature * phi / phi.mean()
