from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.data import Data

from crl_core import Items, Sampler, Source, View, Views

from ..adjacency import Adjacency
from ..data import NodeRows
from ..sparse import Kept


class Neighbours:
    """A small part of a large graph: the nodes asked for, some neighbours of each, and some of their neighbours.

    Another sampler then draws its views of that part. Neighbours are drawn without replacement (Hamilton et al. 2017,
    GraphSAGE); an edge leads from a neighbour to the node for which it was drawn. `clean` returns the whole graph.

    >>> from crl_graph.samplers.feature_shuffle import FeatureShuffle
    >>> from crl_graph.samplers.neighbours import Neighbours
    >>> from crl_graph.sources.communities import Communities
    >>> batch = Communities(nodes=200).items("train").__getitems__([0, 1])
    >>> view = Neighbours(FeatureShuffle(), counts=(3,))(batch)["graph"]
    >>> len(view), view.data.num_nodes <= 2 + 2 * 3
    (2, True)

    Args:
        sampler: draws the views of the part.
        counts: the maximum number of neighbours at each step away; as many steps as the encoder has layers.
    """

    def __init__(self, sampler: Sampler, counts: tuple[int, ...] = (10, 10)) -> None:
        if not counts or min(counts) < 1:
            raise ValueError(f"counts are 1 or more for each step, not {counts}")
        self.sampler, self.counts = sampler, tuple(counts)
        self._kept = Kept()

    @property
    def views(self) -> tuple[str, ...]:
        return self.sampler.views

    def on_source(self, items: Items, source: Source) -> None:
        if (on_source := getattr(self.sampler, "on_source", None)) is not None:
            on_source(items, source)

    def __call__(self, batch: View) -> Views:
        graph: Data = batch.data
        asked = getattr(graph, "asked", None)
        if asked is None:
            asked = torch.arange(int(graph.num_nodes or 0), device=graph.edge_index.device)
        # Turned round, since what a node is told comes along the edges that lead to it.
        towards: Adjacency = self._kept(_turned, graph.edge_index, graph.num_nodes)
        node, edges = sampled(towards, asked, self.counts)
        part = NodeRows(x=graph.x[node], edge_index=edges, node=node, asked=torch.searchsorted(node, asked))
        return self.sampler(View(part, batch.meta))

    def clean(self, batch: View) -> View | Views:
        return self.sampler.clean(batch)


def _turned(edges: Tensor, nodes: int) -> Adjacency:
    return Adjacency.of(edges.flip(0), nodes, directed=True)


def sampled(graph: Adjacency, seed: Tensor, counts: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """The nodes `[n]` around `seed`, rising, and edges `[2, e]` between their places, neighbour to node."""
    node = front = torch.unique(seed)
    pairs = []
    for count in counts:
        pairs.append(_drawn(graph, front, count))
        front = torch.unique(pairs[-1][0])
        front = front[~torch.isin(front, node)]
        node = torch.unique(torch.cat([node, front]))
    return node, torch.searchsorted(node, torch.cat(pairs, 1))


def _drawn(graph: Adjacency, front: Tensor, count: int) -> Tensor:
    """For each of these nodes at most `count` of its neighbours, `[2, e]`: neighbour, node."""
    degree = graph.degree[front]
    owner = torch.arange(len(front), device=front.device).repeat_interleave(degree)
    begin = degree.cumsum(0) - degree
    order = torch.rand(len(owner), device=front.device).argsort()
    order = order[owner[order].argsort(stable=True)]  # by chance within each node's edges
    order = order[torch.arange(len(order), device=front.device) - begin[owner] < count]
    place = graph.start[front][owner] + torch.arange(len(owner), device=front.device) - begin[owner]
    return torch.stack([graph.neighbour[place[order]], front[owner[order]]])
