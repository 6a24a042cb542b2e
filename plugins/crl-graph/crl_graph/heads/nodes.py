from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from crl_core import Embeddings, Head


class Nodes(nn.Module):
    """One row for each node where the encoder makes one for each graph; with the columns `node` and `graph`.

    Args:
        head: what the nodes' rows go through, each by itself.
        feature: the nodes' rows, by the name that the encoder gives them.
    """

    def __init__(self, head: Head | None = None, feature: str = "nodes") -> None:
        super().__init__()
        self.head, self.feature = head, feature

    def forward(self, features: Mapping[str, Tensor]) -> Embeddings:
        """`[N, d]` of all graphs to `[N, d]`."""
        rows = features[self.feature]
        if self.head is not None:
            rows = self.head(rows)
        return Embeddings(rows, {"node": features["node"], "graph": features["graph"][features["segment"]]})
