from __future__ import annotations

from crl_core import AdamW, Branch, Contrast, CosineDecay, Dot, JensenShannon, Pipeline, Recipe, Source, Training, same

from ..encoders.gcn import GCN
from ..encoders.two_structures import TwoStructures
from ..heads.feed_forward import FeedForward
from ..heads.nodes import Nodes
from ..samplers.diffusion import Diffusion
from ..sources.families import Families


def mvgrl_graphs(source: Source | None = None, size: int = 128, depth: int = 3, alpha: float = 0.2) -> Recipe:
    """MVGRL for graphs: the nodes of each graph's edges against the summaries of all diffusions, and the reverse.

    Paper: Hassani, Khasahmadi 2020, Contrastive Multi-View Representation Learning on Graphs

    Checked against: PageRank's exact inverse; two graph convolutions with a sum over the nodes of all layers, one
    head for all nodes and one for all graphs, Jensen-Shannon in both directions, the sum of both as representation.
    A graph's number of nodes goes with its rows, so that no mask can belong to another graph, as it does in the
    source. Differs in the representation, which is taken before the head.

    Args:
        source: of graphs; generated families that need no download by default.
        size, depth: numbers for each layer of each encoder, and layers.
        alpha: of personalised PageRank, the chance to start again.
    """
    graphs, nodes = FeedForward(size), FeedForward(size)
    positive = same("graph")
    pipeline = Pipeline(
        sampler=Diffusion("ppr", alpha=alpha),
        branches={
            "both": Branch(
                "graph",
                encoder=TwoStructures(
                    GCN(size, depth, readout="sum"), GCN(size, depth, edges="as-given", readout="sum")
                ),
            ),
            "adjacency": Branch(tap="both.adjacency", head=graphs),
            "diffusion": Branch(tap="both.diffusion", head=graphs),
            "adjacency nodes": Branch("graph", tracks="both", head=Nodes(nodes, "adjacency nodes")),
            "diffusion nodes": Branch("graph", tracks="both", head=Nodes(nodes, "diffusion nodes")),
        },
        contrasts=[
            Contrast("adjacency nodes", "diffusion", score=Dot(), loss=JensenShannon(), positive=positive),
            Contrast("diffusion nodes", "adjacency", score=Dot(), loss=JensenShannon(), positive=positive),
        ],
    )
    training = Training(epochs=20, batch_size=128, optimiser=AdamW(1e-3, weight_decay=0.0), schedule=CosineDecay())
    return Recipe(pipeline, source or Families(), training)
