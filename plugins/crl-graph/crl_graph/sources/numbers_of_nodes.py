from __future__ import annotations

import torch

from crl_core import CrlError, Source

from ..adjacency import Adjacency
from ..items import Nodes
from ..network import Network, NodeNumbers


class NumbersOfNodes(Network):
    """The nodes of another source's one graph, by their numbers: for methods that learn a vector for each.

    Features are not used; splits and labels are those of the other source.

    >>> from crl_graph.sources.communities import Communities
    >>> from crl_graph.sources.numbers_of_nodes import NumbersOfNodes
    >>> NumbersOfNodes(Communities(nodes=200)).items("train").__getitems__([0, 7]).data
    tensor([0, 7])

    Args:
        source: whose items are the nodes of one graph, such as `graph/pyg` or `graph/communities`.

    Raises:
        CrlError: the source has other items.
    """

    def __init__(self, source: Source) -> None:
        items = source.items(source.splits[0])
        if not isinstance(items, Nodes):
            raise CrlError(f"the items of {type(source).__name__} are not the nodes of one graph")
        self.source = source
        graph = items.graph
        nodes = int(graph.num_nodes or 0)
        adjacency = Adjacency.of(graph.edge_index, nodes, getattr(graph, "edge_weight", None), directed=True)
        label = torch.full((nodes,), -1)
        for split in source.splits:
            part = source.items(split)
            assert isinstance(part, Nodes)
            label[part.chosen] = torch.maximum(label[part.chosen], part.label[part.chosen])
        known = bool((label >= 0).any())
        super().__init__(adjacency, [str(node) for node in range(nodes)], label if known else None)

    @property
    def splits(self) -> tuple[str, ...]:
        return self.source.splits

    def items(self, split: str) -> NodeNumbers:
        nodes = self.source.items(split)
        assert isinstance(nodes, Nodes)
        return NodeNumbers(nodes.chosen, nodes.label[nodes.chosen], self.adjacency.degree[nodes.chosen] > 0)
