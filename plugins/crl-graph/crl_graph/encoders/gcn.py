from __future__ import annotations

import itertools
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from crl_core import Embeddings, Lazy

from ..rows import node_rows, pooled
from ..sparse import Kept, Sparse, propagation, table, weighted


class GCN(Lazy):
    """Graph convolutions: each node's features times a matrix, averaged over its neighbours and itself.

    Kipf and Welling 2017; with PReLU, as in DGI (Veličković et al. 2019, equation 3). A graph with N nodes to `[N,
    size]`, or with a readout G graphs to `[G, depth · size]`. If the graph has an order `shuffle`, the rows of the
    shuffled features are returned too: the product of features and weights, which is most of the work, is computed once
    and reordered.

    >>> from crl_graph.encoders.gcn import GCN
    >>> from crl_graph.sources.communities import Communities
    >>> view = Communities(nodes=200).items("train").__getitems__([0, 1])
    >>> GCN(size=16)(view.data).z.shape
    torch.Size([2, 16])

    Args:
        size: numbers for each node.
        depth: layers.
        activation: "prelu" with one learned slope for each layer, or "relu".
        normalise: divide each node's features by their sum first (by the sum of their sizes, if some are negative).
        edges: "normalised" with a loop at every node, as in Kipf and Welling; or with the weights "as-given", for
            diffusions.
        readout: "sum" or "mean" returns one row for each graph, from the nodes' rows of all layers, concatenated; None,
            one for each node.
    """

    def __init__(
        self,
        size: int = 512,
        depth: int = 1,
        activation: Literal["prelu", "relu"] = "prelu",
        normalise: bool = False,
        edges: Literal["normalised", "as-given"] = "normalised",
        readout: Literal["sum", "mean"] | None = None,
    ) -> None:
        super().__init__()
        if size < 1 or depth < 1:
            raise ValueError(f"size and depth are 1 or more, not {size} and {depth}")
        if activation not in ("prelu", "relu"):
            raise ValueError(f'activation is "prelu" or "relu", not {activation!r}')
        self.size, self.depth, self.activation = size, depth, activation
        self.normalise, self.edges, self.readout = normalise, edges, readout
        self._features, self._edges = Kept(), Kept()

    def build(self, width: int) -> None:
        widths = [width] + [self.size] * self.depth
        weights = [torch.empty(a, b) for a, b in itertools.pairwise(widths)]
        self.weights = nn.ParameterList([nn.init.xavier_uniform_(weight) for weight in weights])
        self.biases = nn.ParameterList([torch.zeros(self.size) for _ in weights])
        self.slopes = nn.ModuleList([nn.PReLU() if self.activation == "prelu" else nn.ReLU() for _ in weights])

    def forward(self, graph: Data) -> Embeddings | Tensor:
        """Rows `[B, size]` of the nodes asked for, or `[G, depth · size]` of graphs.

        With an order `shuffle`: `[2 · B, size]`, each node's own row before its shuffled one.
        """
        self.ensure_built(graph.x)
        x: Tensor | Sparse = self._features(table, graph.x, self.normalise)
        weight = getattr(graph, "edge_weight", None)
        make = propagation if self.edges == "normalised" else weighted
        adjacency: Sparse = self._edges(make, graph.edge_index, weight, graph.num_nodes)
        layers: list[Tensor] = []
        for number in range(self.depth):
            h = layers[-1] @ self.weights[number] if layers else self._first(x, graph)
            h = (adjacency @ h.flatten(1)).view(h.shape).add_(self.biases[number])
            layers.append(self.slopes[number](h))
        if self.readout is None:
            return node_rows(graph, layers[-1])
        return pooled(graph, torch.cat([layer[:, 0] for layer in layers], 1), self.readout)

    def _first(self, x: Tensor | Sparse, graph: Data) -> Tensor:
        """The features times the first weights, `[N, 1, size]`, or `[N, 2, size]` with those of shuffled ones."""
        weight = self.weights[0]
        product: Any = (x if isinstance(x, Sparse) else x.to(weight.dtype)) @ weight
        order = getattr(graph, "shuffle", None)
        return product.unsqueeze(1) if order is None else torch.stack([product, product[order]], 1)
