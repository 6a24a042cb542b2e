from __future__ import annotations

from typing import Literal

import networkx
import torch

from crl_core import CrlError, did_you_mean

from ..adjacency import Adjacency
from ..network import Network

_GRAPHS = {
    "karate": networkx.karate_club_graph,
    "les-miserables": networkx.les_miserables_graph,
    "florentine": networkx.florentine_families_graph,
    "davis": networkx.davis_southern_women_graph,
}
_LABELS = {"karate": "club", "davis": "bipartite"}


class NetworkX(Network):
    """Small graphs of people, which come with networkx.

    "karate": 34 members of a club that split in two, the label (Zachary 1977); "les-miserables": 77 characters
    that meet in a chapter (Knuth 1993); "florentine": 15 families of Florence, by marriage (Padgett and Ansell 1993);
    "davis": 18 women and the 14 occasions at which they met, the label (Davis et al. 1941).

    >>> from crl_graph.sources.networkx import NetworkX
    >>> graph = NetworkX("karate")
    >>> len(graph.names), graph.label.unique()
    (34, tensor([0, 1]))

    Args:
        name: of the graph.
        weighted: walks take edges by how often two people met, if the graph has these numbers.

    Raises:
        CrlError: there is no such graph.
    """

    def __init__(
        self, name: Literal["karate", "les-miserables", "florentine", "davis"] = "karate", weighted: bool = False
    ) -> None:
        if name not in _GRAPHS:
            raise CrlError(f"no graph {name!r}; there are {', '.join(_GRAPHS)}.{did_you_mean(name, _GRAPHS)}")
        self.name, self.weighted = name, weighted
        graph = _GRAPHS[name]()
        names = [str(node) for node in graph]
        edges = torch.tensor([(names.index(str(u)), names.index(str(v))) for u, v in graph.edges]).T
        weight = torch.tensor([float(data.get("weight", 1)) for _, _, data in graph.edges(data=True)])
        label = None
        if name in _LABELS:
            kinds = [graph.nodes[node][_LABELS[name]] for node in graph]
            label = torch.tensor([sorted(set(kinds)).index(kind) for kind in kinds])
        super().__init__(Adjacency.of(edges, len(names), weight if weighted else None), names, label)
