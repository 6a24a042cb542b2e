from __future__ import annotations

import copy
from typing import ClassVar

import torch
from torch import Tensor

from crl_core import CrlError, View

from ..sparse import Kept


class FeatureShuffle:
    """The graph, and an order in which its nodes exchange their features: the corruption of DGI.

    The view `graph` carries `shuffle` `[N]`: in the corrupted graph, node n has the features of node `shuffle[n]`,
    and its own edges. With many graphs, each is shuffled by itself. (Veličković et al. 2019, section 4.2)

    >>> from crl_graph.samplers.feature_shuffle import FeatureShuffle
    >>> from crl_graph.sources.communities import Communities
    >>> batch = Communities(nodes=200).items("train").__getitems__([0, 1])
    >>> FeatureShuffle()(batch)["graph"].data.shuffle.sort().values[:4]
    tensor([0, 1, 2, 3])

    Raises:
        CrlError: all nodes have the same features, so that shuffling them changes nothing.
    """

    views: ClassVar[tuple[str, ...]] = ("graph",)

    def __init__(self) -> None:
        self._kept = Kept()

    def __call__(self, batch: View) -> dict[str, View]:
        graph = copy.copy(batch.data)
        self._kept(_must_differ, graph.x)
        graph.shuffle = shuffled(graph.num_nodes, getattr(graph, "batch", None), graph.edge_index.device)
        return {"graph": View(graph, batch.meta)}

    def clean(self, batch: View) -> View:
        return batch


def _must_differ(x: Tensor) -> None:
    if not bool((x != x[:1]).any()):
        raise CrlError(
            f"{len(x)} nodes have all the same features: shuffling them makes no other graph. "
            f'Give them some that differ, such as features="degree"'
        )


def shuffled(nodes: int, graph: Tensor | None, device: torch.device) -> Tensor:
    """A random order of the nodes; with `graph` `[N]`, rising, of each graph's nodes among themselves."""
    order = torch.randperm(nodes, device=device)
    return order if graph is None else order[graph[order].argsort(stable=True)]
