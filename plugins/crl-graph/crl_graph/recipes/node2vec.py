from __future__ import annotations

import torch

from crl_core import (
    SGD,
    Branch,
    Contrast,
    CosineDecay,
    NegativeSampling,
    PerQuery,
    Pipeline,
    Recipe,
    Source,
    Training,
    same,
)

from ..adjacency import Adjacency
from ..encoders.table import Table
from ..items import Nodes
from ..network import network
from ..samplers.walks import Walks
from ..sources.networkx import NetworkX
from ..sources.numbers_of_nodes import NumbersOfNodes


def node2vec(
    source: Source | None = None, size: int | None = None, p: float = 1.0, q: float = 0.5, window: int = 10
) -> Recipe:
    """node2vec: nodes that are near each other on biased random walks have like vectors.

    Paper: Grover, Leskovec 2016, node2vec: Scalable Feature Learning for Networks

    Checked against: the exact second-order chances of a step; walks of 80 nodes, windows of 10, noise by the ¾ power
    of the count, a table of nodes and one of contexts as in the authors' source. Every node begins one walk an epoch,
    so that epochs are the paper's walks per node. SGD as there, but of a batch's mean. A step moves the nodes of the
    batch alone, so that it costs as much in a large graph as in a small one.

    Args:
        source: of a graph, also one whose nodes have features; a karate club of 34 members by default.
        size: numbers in a vector; by default 128 as in the paper, and 16 for less than a thousand nodes.
        p, q: how seldom a walk steps back, and steps away.
    """
    source = source or NetworkX()
    if isinstance(source.items(source.splits[0]), Nodes):
        source = NumbersOfNodes(source)
    graph = network(source).adjacency
    few = len(graph) < 1_000
    if size is None:
        size = 16 if few else 128
    batch_size = 4 if few else 8
    pipeline = Pipeline(
        Walks(window=window, p=p, q=q),
        branches={
            "centre": Branch("centre", encoder=Table("nodes", size, bound=0.5 / size, sparse=True)),
            "context": Branch("context", encoder=Table("nodes", size, bound=0.0, sparse=True)),
        },
        contrasts=[
            Contrast(
                "centre",
                "context",
                keys=PerQuery(),
                loss=NegativeSampling(),
                positive=same("pair"),
                negative=~same("pair"),
            )
        ],
    )
    training = Training(
        epochs=10,
        batch_size=batch_size,
        optimiser=SGD(_rate(graph, pairs=batch_size * 80 * (window + 1))),
        schedule=CosineDecay(),
    )
    return Recipe(pipeline, source, training)


def _rate(graph: Adjacency, pairs: int) -> float:
    """word2vec's 0.025 a pair, of whose losses the mean is taken; or less, where one node has a large share of them."""
    strength = graph.strength(torch.arange(len(graph)))
    return min(0.025 * pairs, 1.5 * float(strength.sum() / strength.max()))
