from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor, nn
from torch_geometric.utils import scatter

from crl_core import Embeddings


class Readout(nn.Module):
    """One row for each graph, the mean or the sum of its nodes; with the columns `graph` and `corrupted` (0).

    Args:
        how: "mean" or "sum".
        sigmoid: put each number between 0 and 1, afterwards (DGI, Veličković et al. 2019, equation 2).
        feature: the nodes' rows, by the name that the encoder gives them.
    """

    def __init__(self, how: Literal["mean", "sum"] = "mean", sigmoid: bool = False, feature: str = "nodes") -> None:
        super().__init__()
        self.how, self.sigmoid, self.feature = how, sigmoid, feature

    def forward(self, features: Mapping[str, Tensor]) -> Embeddings:
        """Features `[B, d]` and their `segment` `[B]` to `[G, d]`."""
        graph = features["graph"]
        found = scatter(features[self.feature], features["segment"], dim=0, dim_size=len(graph), reduce=self.how)
        return Embeddings(
            found.sigmoid() if self.sigmoid else found, {"graph": graph, "corrupted": graph.new_zeros(len(graph))}
        )
