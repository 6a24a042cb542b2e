from __future__ import annotations

import copy
from typing import ClassVar

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import scatter

from crl_core import View


class Dropped:
    """Two views of a graph, each without some of its edges, nodes and features.

    GRACE (Zhu et al. 2020) drops edges, and features of all nodes; GraphCL (You et al. 2020) edges, nodes, or the
    features of some nodes.

    >>> from crl_graph.samplers.dropped import Dropped
    >>> from crl_graph.sources.communities import Communities
    >>> batch = Communities(nodes=200).items("train").__getitems__([0, 1])
    >>> views = Dropped(edges=0.5)(batch)
    >>> sorted(views), views["a"].data.edge_index.shape[1] < batch.data.edge_index.shape[1]
    (['a', 'b'], True)

    Args:
        edges: probability of each edge to be dropped, in both directions together.
        nodes: probability of each node to lose its edges and its features; every graph keeps a node.
        features: probability of each feature to be 0 for all nodes of the batch.
        other_edges, other_features: of the second view; None takes those of the first.
    """

    views: ClassVar[tuple[str, ...]] = ("a", "b")

    def __init__(
        self,
        edges: float = 0.2,
        nodes: float = 0.0,
        features: float = 0.0,
        other_edges: float | None = None,
        other_features: float | None = None,
    ) -> None:
        for chance in (edges, nodes, features, other_edges, other_features):
            if chance is not None and not 0 <= chance < 1:
                raise ValueError(f"a chance to be dropped is from 0 to below 1, not {chance!r}")
        self.edges, self.nodes, self.features = edges, nodes, features
        self.other_edges, self.other_features = other_edges, other_features

    def __call__(self, batch: View) -> dict[str, View]:
        edges = self.edges if self.other_edges is None else self.other_edges
        features = self.features if self.other_features is None else self.other_features
        return {
            "a": View(dropped(batch.data, self.edges, self.nodes, self.features), batch.meta),
            "b": View(dropped(batch.data, edges, self.nodes, features), batch.meta),
        }

    def clean(self, batch: View) -> View:
        return batch


def dropped(graph: Data, edges: float, nodes: float, features: float) -> Data:
    """The graph without what these chances took away; rows stay where they are."""
    made = copy.copy(graph)
    device = graph.edge_index.device
    index, weight = graph.edge_index, getattr(graph, "edge_weight", None)
    kept = torch.ones(index.shape[1], dtype=torch.bool, device=device)
    if edges:
        kept &= _by_pair(index, int(graph.num_nodes or 0)) >= edges
    if nodes:
        stays = _staying(graph, nodes)
        kept &= stays[index].all(0)
        made.x = graph.x * stays.unsqueeze(1)
    if features:
        made.x = made.x * (torch.rand(graph.x.shape[1], device=device) >= features)
    made.edge_index = index[:, kept]
    if weight is not None:
        made.edge_weight = weight[kept]
    return made


def _by_pair(index: Tensor, nodes: int) -> Tensor:
    """A number from 0 to 1 for every edge `[E]`, the same for both directions."""
    pair = index.amin(0) * nodes + index.amax(0)
    unique, place = torch.unique(pair, return_inverse=True)
    return torch.rand(len(unique), device=index.device)[place]


def _staying(graph: Data, chance: float) -> Tensor:
    """Which nodes `[N]` stay; of every graph the one with the highest draw does."""
    draw = torch.rand(int(graph.num_nodes or 0), device=graph.edge_index.device)
    segment = getattr(graph, "batch", None)
    segment = torch.zeros_like(draw, dtype=torch.int64) if segment is None else segment
    highest: Tensor = scatter(draw, segment, reduce="max")
    return (draw >= chance) | (draw == highest[segment])
