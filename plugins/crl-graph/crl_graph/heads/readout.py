from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor, nn
from torch_geometric.utils import scatter

from crl_core import Embeddings


class Readout(nn.Module):
    """One row per graph, the mean or the sum of its nodes; with the columns `graph` and `corrupted` (0).

    Features `[N, d]` of the nodes, with the place of each node's graph in the batch `segment` `[N]`, to `[G, d]`.

    >>> import torch
    >>> from crl_graph.heads.readout import Readout
    >>> nodes = torch.tensor([[1.0], [3.0], [5.0]])
    >>> features = {"nodes": nodes, "segment": torch.tensor([0, 0, 1]), "graph": torch.tensor([7, 9])}
    >>> Readout("mean")(features).z
    tensor([[2.],
            [5.]])

    Args:
        how: "mean" or "sum".
        sigmoid: map each number to the range from 0 to 1 afterwards (DGI, Veličković et al. 2019, equation 2).
        feature: the encoder's name for the nodes' rows.
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
