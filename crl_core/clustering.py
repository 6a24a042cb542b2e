"""Clusters of vectors by k-means, on the device of the vectors."""

from __future__ import annotations

import torch
from torch import Tensor

from .errors import CrlError


@torch.no_grad()
def k_means(z: Tensor, clusters: int, seed: int = 0, rounds: int = 20) -> tuple[Tensor, Tensor]:
    """The centres `[clusters, D]` of the rows `[N, D]`, and the cluster `[N]` of each row.

    Lloyd's algorithm, with first centres drawn as in k-means++ (Arthur and Vassilvitskii 2007): a row is drawn more
    likely if it is far from the centres so far. A cluster that has lost all rows moves to the row farthest from its
    centre.

    Raises:
        CrlError: there are fewer rows than clusters.
    """
    if not 1 <= clusters <= len(z):
        raise CrlError(f"{len(z)} rows can't be divided into {clusters} clusters")
    centres = _drawn(z, clusters, torch.Generator().manual_seed(seed))
    cluster, distance = nearest_centre(z, centres)
    for _ in range(rounds):
        count = torch.bincount(cluster, minlength=clusters)
        total = torch.zeros_like(centres).index_add_(0, cluster, z)
        centres = total / count.clamp(min=1).unsqueeze(1).to(z.dtype)
        empty = (count == 0).nonzero().squeeze(1)
        centres[empty] = z[distance.topk(len(empty)).indices]
        before = cluster
        cluster, distance = nearest_centre(z, centres)
        if torch.equal(cluster, before):
            break
    return centres, cluster


def _drawn(z: Tensor, clusters: int, generator: torch.Generator) -> Tensor:
    draws = torch.rand(clusters, generator=generator, dtype=torch.float64).tolist()
    chosen = [int(draws[0] * len(z))]
    distance = z.new_full((len(z),), torch.inf)
    for draw in draws[1:]:
        distance = torch.minimum(distance, (z - z[chosen[-1]]).square().sum(1))
        heights = distance.double().cumsum(0)
        chosen.append(min(int(torch.searchsorted(heights, draw * heights[-1], right=True)), len(z) - 1))
    return z[chosen]


def nearest_centre(z: Tensor, centres: Tensor, strip: int = 1 << 22) -> tuple[Tensor, Tensor]:
    """The nearest centre of each row, and the squared distance to it."""
    found = []
    size = max(1, strip // len(centres))
    for rows in (z[start : start + size] for start in range(0, max(1, len(z)), size)):
        lengths = rows.square().sum(1, keepdim=True) + centres.square().sum(1)
        found.append((lengths - 2 * rows @ centres.T).min(1))
    return torch.cat([each.indices for each in found]), torch.cat([each.values for each in found])
