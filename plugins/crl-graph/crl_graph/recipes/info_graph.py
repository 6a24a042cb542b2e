from __future__ import annotations

from crl_core import (
    AdamW,
    Branch,
    Contrast,
    CosineDecay,
    Dot,
    Encoder,
    JensenShannon,
    Pipeline,
    Recipe,
    Source,
    Training,
    same,
)

from ..encoders.gin import GIN
from ..heads.feed_forward import FeedForward
from ..heads.nodes import Nodes
from ..samplers.unchanged import Unchanged
from ..sources.families import Families


def info_graph(source: Source | None = None, encoder: Encoder | None = None, size: int = 32, depth: int = 5) -> Recipe:
    """InfoGraph: each node against its own graph's summary, and against the summaries of the batch's other graphs.

    Paper: Sun, Hoffmann, Verma, Tang 2020, InfoGraph: Unsupervised and Semi-supervised Graph-Level Representation
    Learning via Mutual Information Maximization

    Checked against: the source's estimate, written densely: positives averaged over N nodes, negatives over
    N (M - 1) pairs with M graphs (which is 2 log 2 less than this loss). Nodes are the queries, so that the mean is
    over nodes as it is there; the paper's table has the graph as query, which makes the same pairs.

    Args:
        source: of graphs; generated families that need no download by default.
        encoder: of graphs, which also gives the nodes' rows; by default GIN with all layers side by side.
        size, depth: of the default encoder, numbers for each layer and layers.
    """
    pipeline = Pipeline(
        sampler=Unchanged(),
        branches={
            "graphs": Branch("graph", encoder=encoder or GIN(size, depth, readout="sum")),
            "summary": Branch(tap="graphs", head=FeedForward()),
            "nodes": Branch("graph", tracks="graphs", head=Nodes(FeedForward())),
        },
        contrasts=[Contrast("nodes", "summary", score=Dot(), loss=JensenShannon(), positive=same("graph"))],
    )
    training = Training(epochs=20, batch_size=128, optimiser=AdamW(1e-3, weight_decay=0.0), schedule=CosineDecay())
    return Recipe(pipeline, source or Families(), training)
