"""Nodes of one graph, or many graphs, as the items of a source.

A batch is a PyG graph with `x` `[N, F]` and `edge_index` `[2, E]`, whose edges are there once in each direction
they have. Beside these it may have
    `edge_weight` `[E]`;
    `asked` `[B]`: the nodes that are this batch's items; without it, all are;
    `batch` `[N]`, `ptr` `[G + 1]`: of many graphs, which one a node belongs to, and where each begins;
    `number` `[G]`: which graphs of the source they are;
    `node` `[N]`: of a part of a graph, which nodes these are in the whole.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import coalesce

from crl_core import CrlError, View

from .data import GraphRows, NodeRows, gathered

log = logging.getLogger("crl")


class Nodes:
    """Some nodes `chosen` `[B]` of one graph; all of them come in one batch.

    Args:
        label: of all nodes `[N]`, -1 where it is unknown.
    """

    def __init__(self, graph: Data, chosen: Tensor, label: Tensor) -> None:
        if not len(chosen):
            raise CrlError("this split has no nodes")
        self.graph = graph if isinstance(graph, NodeRows) else NodeRows.from_dict(graph.to_dict())
        self.chosen, self.label = chosen, label

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitems__(self, indices: list[int]) -> View:
        index = torch.tensor(indices)
        node = self.chosen[index]
        graph = copy.copy(self.graph)
        if not torch.equal(node, torch.arange(graph.num_nodes)):
            graph.asked = node
        return View(graph, {"instance": index, "node": node, "label": self.label[node]})

    def batches(self, batch_size: int, generator: torch.Generator) -> list[list[int]]:
        return [list(range(len(self)))]


def few_labelled(graph: Data, label: Tensor, each: int, seed: int) -> dict[str, Nodes]:
    """Splits of a graph's nodes: all for training, where `each` nodes of every label have it and the others -1.

    Of the nodes without a label there, a quarter is for `val`, and the rest for `test`.
    """
    order = torch.randperm(len(label), generator=torch.Generator().manual_seed(seed))
    known = torch.zeros_like(label, dtype=torch.bool)
    for one in label.unique():
        known[order[label[order] == one][:each]] = True
    rest = order[~known[order]]
    quarter = len(rest) // 4
    return {
        "train": Nodes(graph, torch.arange(len(label)), torch.where(known, label, -1)),
        "val": Nodes(graph, rest[:quarter], label),
        "test": Nodes(graph, rest[quarter:], label),
    }


class Graphs:
    """Many graphs one after the other in a few long tensors, from which a batch is gathered at once."""

    def __init__(self, graphs: Sequence[Data], label: Tensor) -> None:
        some = [number for number, graph in enumerate(graphs) if graph.num_nodes]
        if len(some) < len(graphs):
            log.warning("%d of %d graphs have no nodes and were left out", len(graphs) - len(some), len(graphs))
        if not some:
            raise CrlError("there are no graphs with nodes")
        graphs, self.label = [checked(graphs[number]) for number in some], label[some]
        widths = torch.tensor([graph.x.shape[1] for graph in graphs])
        if bool((widths != widths[0]).any()):
            other = int((widths != widths[0]).nonzero()[0])
            raise CrlError(
                f"all graphs have as many features, but graph {some[0]} has {widths[0]} and graph {some[other]} has "
                f"{widths[other]}"
            )
        self.x = torch.cat([graph.x for graph in graphs])
        self.edges = torch.cat([graph.edge_index for graph in graphs], 1)
        self.nodes_from = _starts([graph.num_nodes for graph in graphs])
        self.edges_from = _starts([graph.edge_index.shape[1] for graph in graphs])

    def __len__(self) -> int:
        return len(self.label)

    def __getitems__(self, indices: list[int]) -> View:
        index = torch.tensor(indices)
        node, batch, ptr = gathered(self.nodes_from, index)
        edge, of, _ = gathered(self.edges_from, index)
        graphs = GraphRows(x=self.x[node], edge_index=self.edges[:, edge] + ptr[of], batch=batch, ptr=ptr, number=index)
        return View(graphs, {"instance": index, "label": self.label[index]})


def _starts(counts: Sequence[int]) -> Tensor:
    return torch.tensor([0, *counts]).cumsum(0)


def checked(graph: Data) -> NodeRows:
    """The graph with what the encoders need, and every edge once.

    Raises:
        CrlError: it has no nodes or no features, an edge leads out of it, or a feature or an edge is no number.
    """
    nodes = graph.num_nodes
    if not nodes:
        raise CrlError("the graph has no nodes")
    if graph.x is None:
        raise CrlError('the graph has no features x: make some of its edges, with features="degree" or "ones"')
    if graph.x.dim() != 2 or len(graph.x) != nodes:
        raise CrlError(f"features x are [N, F] with a row for each of {nodes} nodes, not {list(graph.x.shape)}")
    if not graph.x.isfinite().all():
        wrong = (~graph.x.isfinite()).any(1).nonzero().flatten().tolist()
        raise CrlError(f"{len(wrong)} nodes have features that are NaN or infinite: {wrong[:10]}")
    edges = torch.empty(2, 0, dtype=torch.int64) if graph.edge_index is None else graph.edge_index
    if edges.is_floating_point() or edges.dim() != 2 or len(edges) != 2:
        raise CrlError(f"edge_index are numbers of nodes, int64 [2, E], not {edges.dtype} {list(edges.shape)}")
    if edges.numel() and (int(edges.min()) < 0 or int(edges.max()) >= nodes):
        raise CrlError(f"edges lead from {int(edges.min())} to {int(edges.max())}, the nodes are 0 to {nodes - 1}")
    once = coalesce(edges, num_nodes=nodes)
    if once.shape[1] < edges.shape[1]:
        log.info("%d duplicate edges are one each", edges.shape[1] - once.shape[1])
    return NodeRows(x=graph.x.float(), edge_index=once)


def with_features(graph: Data, how: str) -> Data:
    """The graph with its own features, the degrees of its nodes as one of 32 numbers, or the same for all."""
    if how == "given":
        return graph
    made = copy.copy(graph)
    if how == "ones":
        made.x = torch.ones(int(graph.num_nodes or 0), 1)
    elif how == "degree":
        degree = torch.bincount(graph.edge_index[1], minlength=int(graph.num_nodes or 0))
        made.x = torch.nn.functional.one_hot(degree.clamp(max=31), 32).float()
    else:
        raise CrlError(f'features are "given", "degree" or "ones", not {how!r}')
    return made
