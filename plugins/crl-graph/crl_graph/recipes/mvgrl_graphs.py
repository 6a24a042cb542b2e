from __future__ import annotations

import crl_core as crl
from crl_core import same

from ..encoders.gcn import GCN
from ..encoders.two_structures import TwoStructures
from ..graphs import FAMILIES, GraphSet
from ..heads.feed_forward import FeedForward
from ..heads.nodes import Nodes
from ..samplers.diffusion import Diffusion


@crl.presets(families=FAMILIES | {"size": 128, "depth": 3, "epochs": 20, "batch_size": 128})
def mvgrl_graphs(graphs: GraphSet = GraphSet(), size: int = 512, depth: int = 4, alpha: float = 0.2) -> crl.Recipe:
    """MVGRL for graphs: the nodes of each graph's edges against the summaries of all diffusions, and the reverse.

    Paper: Hassani, Khasahmadi 2020, Contrastive Multi-View Representation Learning on Graphs
    Checked: PageRank's exact inverse; two graph convolutions with a sum over the nodes of all layers, one head for all
        nodes and one for all graphs, Jensen-Shannon in both directions, the sum of both as representation.
    Differs: the representation is taken before the head; no mask belongs to another graph, as it does in the source.
        Layers, epochs and batch are the defaults of the source's function, which searches them for each data set.

    Args:
        alpha: of personalised PageRank, the chance to start again.
    """
    both = TwoStructures(GCN(size, depth, readout="sum"), GCN(size, depth, edges="as-given", readout="sum"))
    summary, node, own = FeedForward(size), FeedForward(size), same("graph")
    return graphs.recipe(
        crl.Training(epochs=40, batch_size=64, optimiser=crl.Adam(1e-3), schedule=crl.Constant()),
        sampler=Diffusion("ppr", alpha=alpha),
        branches={
            "both": crl.Branch("graph", encoder=both),
            "adjacency": crl.Branch(tap="both.adjacency", head=summary),
            "diffusion": crl.Branch(tap="both.diffusion", head=summary),
            "adjacency nodes": crl.Branch("graph", tracks="both", head=Nodes(node, "adjacency nodes")),
            "diffusion nodes": crl.Branch("graph", tracks="both", head=Nodes(node, "diffusion nodes")),
        },
        contrasts=[
            crl.Contrast("adjacency nodes", "diffusion", score=crl.Dot(), loss=crl.JensenShannon(), positive=own),
            crl.Contrast("diffusion nodes", "adjacency", score=crl.Dot(), loss=crl.JensenShannon(), positive=own),
        ],
    )
