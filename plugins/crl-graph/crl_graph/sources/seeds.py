from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from crl_core import CrlError, Items, Source, View, by_weight

from ..items import Nodes


class Seeds:
    """The nodes of another source, of which an epoch draws batches: nodes with more edges more often.

    >>> import torch
    >>> from crl_graph.sources.communities import Communities
    >>> from crl_graph.sources.seeds import Seeds
    >>> items = Seeds(Communities(nodes=200)).items("train")
    >>> len(items.batches(32, torch.Generator())[0])
    32

    Args:
        source: of the nodes of one graph.
        power: a node is drawn with a probability proportional to its degree to this power; 0.75 in GCC (Qiu et al.
            2020). A node without edges is never drawn.

    Raises:
        CrlError: the source has other items, or no node has an edge.
    """

    def __init__(self, source: Source, power: float = 0.75) -> None:
        self.source, self.power = source, power

    @property
    def splits(self) -> tuple[str, ...]:
        return self.source.splits

    @property
    def evaluators(self) -> tuple[str, ...]:
        return getattr(self.source, "evaluators", ("graph/node-classification",))

    def items(self, split: str) -> Items:
        found = self.source.items(split)
        if not isinstance(found, Nodes):
            raise CrlError(f"{type(self.source).__name__} gives no nodes of one graph")
        return Drawn(found, self.power) if split == self.splits[0] else found


class Drawn:
    """Nodes whose batches are drawn by their degrees, as many in an epoch as there are nodes."""

    def __init__(self, nodes: Nodes, power: float) -> None:
        self.nodes = nodes
        graph = nodes.graph
        degree: Tensor = torch.bincount(graph.edge_index[1], minlength=int(graph.num_nodes or 0))[nodes.chosen]
        self.chance = degree.double().pow(power) * (degree > 0)
        if not bool(self.chance.any()):
            raise CrlError("no node has an edge to begin a walk with")

    def __len__(self) -> int:
        return len(self.nodes)

    def __getitems__(self, indices: list[int]) -> View:
        return self.nodes.__getitems__(indices)

    def batches(self, batch_size: int, generator: torch.Generator) -> Sequence[list[int]]:
        return by_weight(self.chance, batch_size, generator)
