from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch_geometric.nn import WLConv

from crl_core import Pipeline, Source

from .graph_classification import cross_validated


class WeisfeilerLehman:
    """What the graphs themselves show, without any encoder: a reference for the figures of graph classification.

    The subtree kernel (Shervashidze et al. 2011): how often each node label occurs in a graph, and each label with
    its neighbours' labels, `iterations` times; a support vector machine in the same folds as
    `GraphClassification`. Nodes with the same features begin with the same label.

    >>> from crl_graph.evaluators.weisfeiler_lehman import WeisfeilerLehman
    >>> from crl_graph.sources.families import Families
    >>> figures = WeisfeilerLehman(iterations=1, folds=2)(None, Families(count=10, nodes=6), "folds")  # no pipeline
    >>> sorted(figures)
    ['weisfeiler_lehman']

    Args:
        iterations: how often labels are refined.
        folds, seed: see `GraphClassification`.
    """

    takes: ClassVar[Literal["pipeline"]] = "pipeline"
    needs: ClassVar[tuple[str, ...]] = ()

    def __init__(self, iterations: int = 3, folds: int = 10, seed: int = 0) -> None:
        self.iterations, self.folds, self.seed = iterations, folds, seed

    def __call__(self, pipeline: Pipeline, source: Source, split: str) -> dict[str, float]:
        items = source.items(split)
        batch = items.__getitems__(list(range(len(items))))
        label = batch.meta["label"]
        counts = subtree_counts(batch.data.x, batch.data.edge_index, batch.data.batch, len(label), self.iterations)
        # The kernel is normalised: a graph with itself gives 1.
        counts = counts / counts.norm(dim=1, keepdim=True)
        known = label >= 0
        kernel = (counts @ counts.T)[known][:, known].numpy()
        right = cross_validated(kernel, label[known].numpy(), self.folds, self.seed, kernel="precomputed")
        return {"weisfeiler_lehman": float(right.mean())}


def subtree_counts(x: Tensor, edges: Tensor, graph: Tensor, graphs: int, iterations: int) -> Tensor:
    """`[G, labels]`: how often every label of every iteration occurs in every graph."""
    label = torch.unique(x, dim=0, return_inverse=True)[1]
    found = []
    for number in range(iterations + 1):
        label = label if number == 0 else torch.unique(WLConv()(label, edges), return_inverse=True)[1]
        width = int(label.max()) + 1
        found.append(torch.bincount(graph * width + label, minlength=graphs * width).view(graphs, width))
    return torch.cat(found, 1).double()
