from __future__ import annotations

import copy

from torch import nn
from torch_geometric.data import Data

from crl_core import Embeddings, Encoder


class TwoStructures(nn.Module):
    """Two encoders for the two sets of edges of a graph, its own and those of a diffusion; the row is their sum.

    MVGRL (Hassani and Khasahmadi 2020). Features for heads: `adjacency` and `diffusion`, the rows of each, and
    `adjacency nodes` and `diffusion nodes`.

    >>> from crl_graph.encoders.gcn import GCN
    >>> from crl_graph.encoders.two_structures import TwoStructures
    >>> from crl_graph.samplers.diffusion import Diffusion
    >>> from crl_graph.sources.communities import Communities
    >>> batch = Communities(nodes=200).items("train").__getitems__([0, 1])
    >>> encoder = TwoStructures(GCN(size=16), GCN(size=16, edges="as-given"))
    >>> sorted(encoder(Diffusion()(batch)["graph"].data).features)
    ['adjacency', 'adjacency nodes', 'diffusion', 'diffusion nodes', 'graph', 'node', 'nodes', 'segment']

    Args:
        adjacency, diffusion: encoders with the same output size.
    """

    def __init__(self, adjacency: Encoder, diffusion: Encoder) -> None:
        super().__init__()
        self.adjacency, self.diffusion = adjacency, diffusion

    def forward(self, graph: Data) -> Embeddings:
        """A graph with `diffusion_index` `[2, E]` and `diffusion_weight` `[E]` to rows, the sum of both."""
        spread = copy.copy(graph)
        spread.edge_index, spread.edge_weight = graph.diffusion_index, graph.diffusion_weight
        one, other = self.adjacency(graph), self.diffusion(spread)
        assert isinstance(one, Embeddings)
        assert isinstance(other, Embeddings)
        features = {
            **one.features,
            "adjacency": one.z,
            "diffusion": other.z,
            "adjacency nodes": one.features["nodes"],
            "diffusion nodes": other.features["nodes"],
        }
        return Embeddings(one.z + other.z, one.meta, features)
