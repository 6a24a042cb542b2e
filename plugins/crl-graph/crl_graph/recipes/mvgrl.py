from __future__ import annotations

import crl_core as crl
from crl_core import same

from ..encoders.gcn import GCN
from ..encoders.two_structures import TwoStructures
from ..graphs import COMMUNITIES, OneGraph
from ..heads.readout import Readout
from ..samplers.diffusion import Diffusion


@crl.presets(communities=COMMUNITIES)
def mvgrl(graph: OneGraph = OneGraph(), size: int = 512, alpha: float = 0.2, top: int = 128) -> crl.Recipe:
    """MVGRL for nodes: the summary of a graph's edges against the nodes of its diffusion, and the other way round.

    Paper: Hassani, Khasahmadi 2020, Contrastive Multi-View Representation Learning on Graphs
    Checked: PageRank's exact inverse; two graph convolutions, each with a summary as in DGI, one bilinear score for
        both directions, shuffled features as negatives; the sum of both as representation.
    Differs: the whole graph, where the source cuts out four times 2,000 nodes that happen to stand together; each
        node's `top` largest weights of the diffusion; 300 epochs, where the source ends when the loss has not fallen
        for 20. Others did not reproduce the published 86.8 on Cora (83.5), whose regression saw other nodes' labels.

    Args:
        alpha: of personalised PageRank, the chance to start again.
    """
    both = TwoStructures(GCN(size, normalise=True), GCN(size, normalise=True, edges="as-given"))
    of = {name: Readout("mean", sigmoid=True, feature=f"{name} nodes") for name in ("adjacency", "diffusion")}
    score, loss = crl.Bilinear(start="normal"), crl.JensenShannon()  # one for both directions
    true, false = same("graph") & same("corrupted"), same("graph") & ~same("corrupted")
    return graph.recipe(
        crl.Training(epochs=300, optimiser=crl.Adam(1e-3), schedule=crl.Constant(), save_every=100),
        sampler=Diffusion("ppr", alpha=alpha, top=top, shuffle=True),
        branches={
            "both": crl.Branch("graph", encoder=both),
            "adjacency": crl.Branch(tap="both.adjacency"),
            "diffusion": crl.Branch(tap="both.diffusion"),
            "adjacency summary": crl.Branch("graph", tracks="both", head=of["adjacency"]),
            "diffusion summary": crl.Branch("graph", tracks="both", head=of["diffusion"]),
        },
        contrasts=[
            crl.Contrast("adjacency summary", "diffusion", score=score, loss=loss, positive=true, negative=false),
            crl.Contrast("diffusion summary", "adjacency", score=score, loss=loss, positive=true, negative=false),
        ],
    )
