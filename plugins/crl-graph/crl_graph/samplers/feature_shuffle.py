from __future__ import annotations

import copy
from typing import ClassVar

import torch
from torch import Tensor

from crl_core.protocols import View


class FeatureShuffle:
    """The graph, and an order in which its nodes take each other's features: the corruption of DGI.

    The view `graph` carries `shuffle` `[N]`: in the corrupted graph, node n has the features of node `shuffle[n]`,
    and the edges that it has. Of many graphs, each is shuffled in itself. (Veličković et al. 2019, section 4.2)
    """

    views: ClassVar[tuple[str, ...]] = ("graph",)

    def __call__(self, batch: View) -> dict[str, View]:
        graph = copy.copy(batch.data)
        graph.shuffle = shuffled(graph.num_nodes, getattr(graph, "batch", None), graph.edge_index.device)
        return {"graph": View(graph, batch.meta)}

    def clean(self, batch: View) -> View:
        return batch


def shuffled(nodes: int, graph: Tensor | None, device: torch.device) -> Tensor:
    """A random order of the nodes; with `graph` `[N]`, rising, of each graph's nodes among themselves."""
    order = torch.randperm(nodes, device=device)
    return order if graph is None else order[graph[order].argsort(stable=True)]
