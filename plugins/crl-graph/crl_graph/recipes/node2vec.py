from __future__ import annotations

from crl_core import AdamW, Branch, Contrast, CosineDecay, NegativeSampling, PerQuery, Pipeline, Recipe, Source, Training, same

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
    so that epochs are the paper's walks per node. Differs in the optimiser: Adam, of whole batches.

    Args:
        source: of a graph, also one whose nodes have features; a karate club of 34 members by default.
        size: numbers in a vector; by default 128 as in the paper, and 16 for less than a thousand nodes.
        p, q: how seldom a walk steps back, and steps away.
    """
    source = source or NetworkX()
    if isinstance(source.items(source.splits[0]), Nodes):
        source = NumbersOfNodes(source)
    nodes = len(network(source).adjacency)
    few = nodes < 1_000
    if size is None:
        size = 16 if few else 128
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
        batch_size=4 if few else 32,
        optimiser=AdamW(0.05 if few else 0.02, weight_decay=0.0),
        schedule=CosineDecay(),
    )
    return Recipe(pipeline, source, training)
