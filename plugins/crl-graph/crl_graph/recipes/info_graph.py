from __future__ import annotations

import crl_core as crl
from crl_core import same

from ..encoders.gin import GIN
from ..graphs import FAMILIES, GraphSet
from ..heads.feed_forward import FeedForward
from ..heads.nodes import Nodes
from ..samplers.unchanged import Unchanged


@crl.presets(families=FAMILIES)
def info_graph(
    graphs: GraphSet = GraphSet(), encoder: crl.Encoder | None = None, size: int = 32, depth: int = 5
) -> crl.Recipe:
    """InfoGraph: each node against its own graph's summary, and against the summaries of the batch's other graphs.

    Paper: Sun, Hoffmann, Verma, Tang 2020, InfoGraph: Unsupervised and Semi-supervised Graph-Level Representation
        Learning via Mutual Information Maximization
    Checked: the source's estimate, written densely: positives averaged over N nodes, negatives over N (M - 1) pairs
        with M graphs (which is 2 log 2 less than this loss). Nodes are the queries, so that the mean is over nodes.
    Differs: the learning rate, which the source leaves to the user.

    Args:
        encoder: of graphs, which also gives the nodes' rows; by default GIN with all layers side by side.
    """
    return graphs.recipe(
        crl.Training(epochs=20, batch_size=128, optimiser=crl.Adam(1e-3), schedule=crl.Constant()),
        sampler=Unchanged(),
        branches={
            "graphs": crl.Branch("graph", encoder=encoder or GIN(size, depth, readout="sum")),
            "summary": crl.Branch(tap="graphs", head=FeedForward()),
            "nodes": crl.Branch("graph", tracks="graphs", head=Nodes(FeedForward())),
        },
        contrasts=[crl.Contrast("nodes", "summary", score=crl.Dot(), loss=crl.JensenShannon(), positive=same("graph"))],
    )
