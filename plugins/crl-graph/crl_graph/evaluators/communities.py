from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from crl_core import CrlError, Pipeline, Source, device_of, k_means

from ..adjacency import Adjacency
from ..network import network

_STARTS = 10


class Communities:
    """Whether clusters of nodes are communities, or nodes in similar positions; all nodes of a graph, by k-means.

    Figures: `modularity`, the share of edges inside clusters minus what chance would give (Newman and Girvan 2004), is
    high for communities; `degree by cluster`, the share of the variance of log(degree + 1) between clusters, is high
    for positions. If nodes have labels, `nmi` is their normalised mutual information with the clusters, from 0 to 1.

    >>> import torch
    >>> import crl_core as crl
    >>> from crl_graph.evaluators.communities import Communities
    >>> from crl_graph.sources.networkx import NetworkX
    >>> source = NetworkX("karate")
    >>> pipeline = crl.recipe("node2vec").pipeline
    >>> _ = pipeline.build(source.items("train").__getitems__([0, 1]), source)
    >>> sorted(Communities(clusters=2)(pipeline, source, "train"))
    ['degree by cluster', 'modularity', 'nmi']

    Args:
        clusters: None takes the number of labels, or 6 if there are none.

    Raises:
        CrlError: there are fewer than 2 clusters, or the source is no graph of numbered nodes.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    takes: ClassVar[Literal["pipeline"]] = "pipeline"

    def __init__(self, clusters: int | None = None) -> None:
        if clusters is not None and clusters < 2:
            raise CrlError(f"clusters are 2 or more, not {clusters}")
        self.clusters = clusters

    def __call__(self, pipeline: Pipeline, source: Source, split: str) -> dict[str, float]:
        of = network(source)
        nodes = of.items(of.splits[0])
        z = pipeline.encode(nodes.__getitems__(list(range(len(nodes)))).to(device_of(pipeline))).cpu()
        count = self.clusters or (6 if of.label is None else len(torch.unique(of.label[of.label >= 0])))
        cluster = clustered(z, count)
        figures = {
            "modularity": modularity(of.adjacency, cluster),
            "degree by cluster": _explained((of.adjacency.degree + 1.0).log(), cluster),
        }
        if of.label is not None:
            from sklearn.metrics import normalized_mutual_info_score

            known = of.label >= 0
            figures["nmi"] = float(normalized_mutual_info_score(of.label[known].numpy(), cluster[known].numpy()))
        return figures


def clustered(z: Tensor, clusters: int) -> Tensor:
    """The cluster of each row `[N]`: the tightest of ten runs of k-means."""
    runs = [k_means(z, clusters, seed) for seed in range(_STARTS)]
    return min(runs, key=lambda run: float((z - run[0][run[1]]).square().sum()))[1]


def modularity(graph: Adjacency, cluster: Tensor) -> float:
    """Σ over clusters of their share of all edges, less the square of their share of all ends of edges."""
    here = torch.arange(len(graph)).repeat_interleave(graph.degree)
    weight = torch.ones(len(here), dtype=torch.float64) if graph.height is None else graph.height.diff()
    loops = here == graph.neighbour
    weight = torch.where(loops, 2 * weight, weight)  # stands here once, and has two ends
    ends = torch.zeros(int(cluster.max()) + 1, dtype=torch.float64).index_add_(0, cluster[here], weight)
    inside = weight[cluster[here] == cluster[graph.neighbour]].sum()
    return float(inside / weight.sum() - (ends / weight.sum()).square().sum())


def _explained(values: Tensor, cluster: Tensor) -> float:
    """The share of the variance that lies between clusters."""
    count = torch.bincount(cluster).clamp(min=1)
    mean = torch.zeros(len(count)).index_add_(0, cluster, values) / count
    whole = (values - values.mean()).square().sum()
    return float(1 - (values - mean[cluster]).square().sum() / whole) if whole > 0 else 0.0
