"""What the recipes are for: one graph, many graphs, a graph to walk on, triples, or a world of objects."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import attrs
import torch

import crl_core as crl

from .items import Nodes
from .knowledge import knowledge_graph
from .network import Network, network
from .sources.blocks import Blocks
from .sources.communities import Communities
from .sources.families import Families
from .sources.family_tree import FamilyTree
from .sources.networkx import NetworkX
from .sources.numbers_of_nodes import NumbersOfNodes
from .sources.seeds import Seeds

COMMUNITIES = {"optimiser": crl.AdamW(2e-3, weight_decay=0.0), "schedule": crl.CosineDecay()}
"""How the preset `communities` trains: from twice the papers' rate down to 0, so that it is theirs on average."""

FAMILIES = {"optimiser": crl.AdamW(1e-3, weight_decay=0.0), "schedule": crl.CosineDecay()}
"""How the preset `families` trains."""

UMLS = {"epochs": 100, "batch_size": 256, "optimiser": crl.SparseAdam(5e-3), "schedule": crl.CosineDecay()}
"""How the preset `umls` trains: for thousands of triples."""

FAMILY_TREE = UMLS | {"epochs": 200, "batch_size": 32}
"""How the preset `family-tree` trains: for a hundred triples, with which an epoch is over at once."""


@attrs.frozen(eq=False, slots=False)
class Given:
    """A source with what recipes need of it. Its fields are settings of the run: `--set source=…`."""

    source: crl.Source

    def recipe(self, training: crl.Training, **pipeline: Any) -> crl.Recipe:
        """The recipe of a method for this source; `pipeline` is what `crl.Pipeline` takes."""
        return crl.Recipe(crl.Pipeline(**pipeline), self.source, training)


@attrs.frozen(eq=False, slots=False)
class OneGraph(Given):
    """One graph, whose nodes are the items.

    >>> from crl_graph.graphs import OneGraph
    >>> from crl_graph.recipes.dgi import dgi
    >>> from crl_graph.sources.communities import Communities
    >>> made = dgi(OneGraph(Communities(nodes=90, groups=3)), size=16)
    >>> made.source.nodes, made.training.optimiser.learning_rate
    (90, 0.001)

    Args:
        source: of the nodes of one graph; a generated one, which needs no download, by default.
    """

    source: crl.Source = attrs.field(factory=Communities)

    def by_degree(self, power: float) -> OneGraph:
        """The same graph, whose nodes are drawn in proportion to their degree to this power."""
        return OneGraph(Seeds(self.source, power))


@attrs.frozen(eq=False, slots=False)
class GraphSet(Given):
    """Many graphs, which are the items.

    >>> from crl_graph.graphs import GraphSet
    >>> from crl_graph.recipes.graph_cl import graph_cl
    >>> from crl_graph.sources.families import Families
    >>> len(graph_cl(GraphSet(Families(count=4))).source.items("train"))
    20

    Args:
        source: of graphs; generated families, which need no download, by default.
    """

    source: crl.Source = attrs.field(factory=Families)


@attrs.frozen(eq=False, slots=False)
class Walked(Given):
    """A graph to walk on, whose items are the numbers of its nodes.

    >>> from crl_graph.graphs import Walked
    >>> karate = Walked()
    >>> len(karate.network.adjacency), round(karate.evenness, 2)  # 156 ends of edges, of which one node has 17
    (34, 9.18)

    Args:
        source: of a graph, also one whose nodes have features; a karate club of 34 members by default.
    """

    source: crl.Source = attrs.field(factory=NetworkX)

    def recipe(self, training: crl.Training, **pipeline: Any) -> crl.Recipe:
        return crl.Recipe(crl.Pipeline(**pipeline), self.network, training)

    @cached_property
    def network(self) -> Network:
        """The source, or the numbers of its nodes where the items are nodes with features."""
        if isinstance(self.source.items(self.source.splits[0]), Nodes):
            return NumbersOfNodes(self.source)
        return network(self.source)

    @property
    def evenness(self) -> float:
        """How many times the edges of the node with the most are all edges: the number of nodes, if all have alike."""
        graph = self.network.adjacency
        strength = graph.strength(torch.arange(len(graph)))
        return float(strength.sum() / strength.max())


@attrs.frozen(eq=False, slots=False)
class Knowledge(Given):
    """Triples of head, relation and tail.

    >>> from crl_graph.graphs import Knowledge
    >>> Knowledge().count
    100

    Args:
        source: of triples; a family tree of 24 people, which needs no download, by default.
    """

    source: crl.Source = attrs.field(factory=FamilyTree)

    def recipe(self, training: crl.Training, **pipeline: Any) -> crl.Recipe:
        return crl.Recipe(crl.Pipeline(**pipeline), knowledge_graph(self.source), training)

    @property
    def count(self) -> int:
        """How many triples there are to train on."""
        return len(knowledge_graph(self.source).items(self.source.splits[0]))


@attrs.frozen(eq=False, slots=False)
class World(Given):
    """Pictures of objects before and after an action.

    >>> from crl_graph.graphs import World
    >>> world = World()
    >>> world.objects * world.actions == world.source.actions
    True

    Args:
        source: of steps with an action; pushed shapes, which need no download, by default.
        objects: in a picture.
        actions: of each object.
    """

    source: crl.Source = attrs.field(factory=Blocks)
    objects: int = 5
    actions: int = 4
