from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, ClassVar

import networkx as nx
import torch
from torch_geometric.data import Data
from torch_geometric.utils import to_undirected

from crl_core import CrlError, check_split

from ..items import Graphs, with_features
from .pyg import FOLDS

# Of n nodes with about 2n edges each, so that neither number gives the family away.
FAMILIES: tuple[Callable[[int, int], Any], ...] = (
    lambda n, seed: nx.gnm_random_graph(n, 2 * n, seed),
    lambda n, seed: nx.barabasi_albert_graph(n, 2, seed),
    lambda n, seed: nx.watts_strogatz_graph(n, 4, 0.1, seed),
    lambda n, seed: nx.random_regular_graph(4, n, seed),
    lambda n, seed: nx.gaussian_random_partition_graph(n, n / 4, 5, min(1, 14 / n), 0.04, seed=seed),
)


class Families:
    """Generated graphs of five families: random, preferential attachment, small world, regular, and in groups.

    The families are the labels. All have about the same number of edges per node; a node's features are its degree.
    `folds` holds the same graphs again, for evaluators that do their own cross-validation.

    >>> from crl_graph.sources.families import Families
    >>> view = Families(count=2).items("train").__getitems__([0, 9])
    >>> len(view), view.meta["label"]
    (2, tensor([0, 4]))

    Args:
        count: graphs of each family.
        nodes: the smallest number of nodes in a graph; the largest is twice that.
        seed: of everything random.

    Raises:
        CrlError: there is no graph, or a graph would have fewer than 6 nodes.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", FOLDS)
    evaluators: ClassVar[tuple[str, ...]] = ("graph/graph-classification", "graph/weisfeiler-lehman")

    def __init__(self, count: int = 60, nodes: int = 16, seed: int = 0) -> None:
        if count < 1 or nodes < 6:
            raise CrlError(f"there is a graph of each family at least, of 6 nodes at least; not {count} of {nodes}")
        self.count, self.nodes, self.seed = count, nodes, seed

    def items(self, split: str) -> Graphs:
        check_split(split, self.splits)
        return self._made

    @cached_property
    def _made(self) -> Graphs:
        total = self.count * len(FAMILIES)
        generator = torch.Generator().manual_seed(self.seed)
        size = torch.randint(self.nodes, 2 * self.nodes + 1, (total,), generator=generator).tolist()
        label = torch.arange(total) % len(FAMILIES)
        made = [FAMILIES[family](n, self.seed * total + i) for i, (family, n) in enumerate(zip(label.tolist(), size))]  # noqa: B905
        return Graphs([_data(graph) for graph in made], label)


def _data(graph: Any) -> Data:
    edges = torch.tensor(list(graph.edges), dtype=torch.int64).view(-1, 2).T
    bare = Data(edge_index=to_undirected(edges, num_nodes=len(graph)), num_nodes=len(graph))
    return with_features(bare, "degree")
