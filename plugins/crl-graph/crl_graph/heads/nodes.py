from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from torch import Tensor, nn

from crl_core import Embeddings, Head


class Nodes(nn.Module):
    """One row per node, from an encoder that makes one per graph; with the columns `node` and `graph`.

    Features `[N, d]` of the nodes of all graphs to `[N, d]`, or to what the head makes of them.

    >>> import torch
    >>> from crl_graph.heads.nodes import Nodes
    >>> features = {  # of two graphs, number 7 with two nodes and number 9 with one
    ...     "nodes": torch.zeros(3, 4),
    ...     "node": torch.tensor([0, 1, 2]),
    ...     "segment": torch.tensor([0, 0, 1]),
    ...     "graph": torch.tensor([7, 9]),
    ... }
    >>> Nodes()(features).meta["graph"]
    tensor([7, 7, 9])

    Args:
        head: for each node's row by itself; None leaves the rows as they are.
        feature: the encoder's name for the nodes' rows.
    """

    def __init__(self, head: Head | None = None, feature: str = "nodes") -> None:
        super().__init__()
        self.head, self.feature = head, feature

    def forward(self, features: Mapping[str, Tensor]) -> Embeddings:
        """`[N, d]` of all graphs to `[N, d]`."""
        rows = features[self.feature]
        if self.head is not None:
            rows = cast(Tensor, self.head(rows))
        return Embeddings(rows, {"node": features["node"], "graph": features["graph"][features["segment"]]})
