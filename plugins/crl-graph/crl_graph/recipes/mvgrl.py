from __future__ import annotations

from crl_core import (
    AdamW,
    Bilinear,
    Branch,
    Contrast,
    CosineDecay,
    JensenShannon,
    Pipeline,
    Recipe,
    Source,
    Training,
    same,
)

from ..encoders.gcn import GCN
from ..encoders.two_structures import TwoStructures
from ..heads.readout import Readout
from ..samplers.diffusion import Diffusion
from ..sources.communities import Communities


def mvgrl(
    source: Source | None = None, size: int = 512, alpha: float = 0.2, top: int = 128, epochs: int = 300
) -> Recipe:
    """MVGRL for nodes: the summary of a graph's edges against the nodes of its diffusion, and the other way round.

    Paper: Hassani, Khasahmadi 2020, Contrastive Multi-View Representation Learning on Graphs

    Checked against: PageRank's exact inverse; two graph convolutions, each with a summary as in DGI, one bilinear
    score for both directions, shuffled features as negatives; the sum of both as representation. Differs in taking
    the whole graph where the source cuts out 2,000 nodes that happen to stand together, and in keeping the `top`
    largest weights of each node's diffusion. The published 86.8 on Cora was not reproduced by others (83.5); the
    source trains its regression on other nodes than the public split, the first 140 of a file.

    Args:
        source: of the nodes of one graph; a generated one that needs no download by default.
        alpha: of personalised PageRank, the chance to start again.
        top: weights of the diffusion that are kept for each node.
    """
    score = Bilinear(start="normal")  # one for both directions
    loss = JensenShannon()
    positive, negative = same("graph") & same("corrupted"), same("graph") & ~same("corrupted")
    pipeline = Pipeline(
        sampler=Diffusion("ppr", alpha=alpha, top=top, shuffle=True),
        branches={
            "both": Branch(
                "graph", encoder=TwoStructures(GCN(size, normalise=True), GCN(size, normalise=True, edges="as-given"))
            ),
            "adjacency": Branch(tap="both.adjacency"),
            "diffusion": Branch(tap="both.diffusion"),
            "adjacency summary": Branch(
                "graph", tracks="both", head=Readout("mean", sigmoid=True, feature="adjacency nodes")
            ),
            "diffusion summary": Branch(
                "graph", tracks="both", head=Readout("mean", sigmoid=True, feature="diffusion nodes")
            ),
        },
        contrasts=[
            Contrast("adjacency summary", "diffusion", score=score, loss=loss, positive=positive, negative=negative),
            Contrast("diffusion summary", "adjacency", score=score, loss=loss, positive=positive, negative=negative),
        ],
    )
    training = Training(epochs=epochs, optimiser=AdamW(2e-3, weight_decay=0.0), schedule=CosineDecay(), save_every=100)
    return Recipe(pipeline, source or Communities(), training)
