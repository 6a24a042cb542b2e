"""What encoders of graphs return: rows of the items, and the features that heads read.

`nodes` `[B, d]`: the nodes, without the shuffled ones;
`segment` `[B]`: which graph of the batch each belongs to;
`graph` `[G]`: which graphs of the source these are;
`node` `[B]`: the nodes' numbers in the graph.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import scatter

from crl_core import Embeddings


def node_rows(graph: Data, h: Tensor) -> Embeddings:
    """Nodes `[N, 1, d]`, or `[N, 2, d]` with the shuffled ones, as rows of those that are asked for."""
    columns = _columns(graph)
    asked = getattr(graph, "asked", None)
    if asked is not None:
        h, columns = h[asked], {name: column if name == "graph" else column[asked] for name, column in columns.items()}
    count, kinds, size = h.shape
    corrupted = torch.arange(kinds, device=h.device).expand(count, kinds)
    meta = {
        "node": columns["node"].unsqueeze(1).expand(count, kinds).flatten(),
        "graph": columns["graph"][columns["segment"]].unsqueeze(1).expand(count, kinds).flatten(),
        "corrupted": corrupted.flatten(),
    }
    return Embeddings(h.view(count * kinds, size), meta, {"nodes": h[:, 0], **columns})


def pooled(graph: Data, h: Tensor, how: str) -> Embeddings:
    """Nodes `[N, d]` as one row `[G, d]` for each graph, their sum or mean."""
    columns = _columns(graph)
    rows = scatter(h, columns["segment"], dim=0, dim_size=len(columns["graph"]), reduce=how)
    return Embeddings(rows, {"graph": columns["graph"]}, {"nodes": h, **columns})


def _columns(graph: Data) -> dict[str, Tensor]:
    node = getattr(graph, "node", None)
    if node is None:
        node = torch.arange(int(graph.num_nodes or 0), device=graph.edge_index.device)
    number = getattr(graph, "number", None)
    if number is None:
        number = node.new_zeros(1)
    segment = getattr(graph, "batch", None)
    return {"segment": torch.zeros_like(node) if segment is None else segment, "graph": number, "node": node}
