from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import GINConv

from crl_core import Embeddings, Lazy, perceptron

from ..rows import node_rows, pooled


class GIN(Lazy):
    """Graph isomorphism network: a perceptron on the sum of each node and its neighbours, layer by layer.

    Xu et al. 2019; with the rows of all layers concatenated, as in InfoGraph (Sun et al. 2020). G graphs to
    `[G, depth · size]`, or without a readout N nodes to `[N, depth · size]`.

    >>> from crl_graph.encoders.gin import GIN
    >>> from crl_graph.sources.families import Families
    >>> view = Families(count=2).items("train").__getitems__([0, 1, 2])
    >>> found = GIN(size=8, depth=2)(view.data)
    >>> found.z.shape, sorted(found.features)
    (torch.Size([3, 16]), ['graph', 'node', 'nodes', 'segment'])

    Args:
        size: numbers for each node and layer.
        depth: layers.
        readout: "sum" or "mean" returns one row for each graph; None, one for each node.
    """

    def __init__(self, size: int = 32, depth: int = 5, readout: Literal["sum", "mean"] | None = "sum") -> None:
        super().__init__()
        if size < 1 or depth < 1:
            raise ValueError(f"size and depth are 1 or more, not {size} and {depth}")
        self.size, self.depth, self.readout = size, depth, readout

    def build(self, width: int) -> None:
        widths = [width] + [self.size] * (self.depth - 1)
        self.layers = nn.ModuleList([GINConv(perceptron(a, self.size, self.size, depth=2, norm=False)) for a in widths])
        self.norms = nn.ModuleList([nn.BatchNorm1d(self.size) for _ in widths])

    def forward(self, graph: Data) -> Embeddings:
        """Rows `[G, depth · size]` of graphs, or `[B, depth · size]` of the nodes asked for."""
        self.ensure_built(graph.x)
        x: Tensor = graph.x.to(self.norms[0].weight.dtype)
        layers: list[Tensor] = []
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = norm(layer(x, graph.edge_index).relu())
            layers.append(x)
        rows = torch.cat(layers, 1)
        return node_rows(graph, rows.unsqueeze(1)) if self.readout is None else pooled(graph, rows, self.readout)
