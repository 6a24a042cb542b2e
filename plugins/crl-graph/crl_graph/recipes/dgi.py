from __future__ import annotations

from crl_core import (
    AdamW,
    Bilinear,
    Branch,
    Contrast,
    CosineDecay,
    Encoder,
    JensenShannon,
    Pipeline,
    Recipe,
    Source,
    Training,
    same,
)

from ..encoders.gcn import GCN
from ..heads.readout import Readout
from ..samplers.feature_shuffle import FeatureShuffle
from ..sources.communities import Communities


def dgi(source: Source | None = None, encoder: Encoder | None = None, size: int = 512, epochs: int = 300) -> Recipe:
    """DGI: a graph's summary against its nodes, and against the nodes of the same graph with shuffled features.

    Paper: Veličković, Fedus, Hamilton, Liò, Bengio, Hjelm 2019, Deep Graph Infomax

    Checked against: PyG's DeepGraphInfomax.loss on the same numbers; features that sum to 1 for each node, sigmoid
    after the mean, a summary that gets its gradient, a shuffle of features alone. The product of features and
    weights is made once for both passes. Differs in when it ends: after `epochs`, instead of when the training loss
    has not fallen for 20 of them. The rate falls along a cosine from twice the paper's, so that it is the paper's on
    average.

    Args:
        source: of the nodes of one graph; a generated one that needs no download by default.
        encoder: of nodes; by default one graph convolution with PReLU.
        size: numbers for each node.
    """
    pipeline = Pipeline(
        sampler=FeatureShuffle(),
        branches={
            "nodes": Branch("graph", encoder=encoder or GCN(size, normalise=True)),
            "summary": Branch("graph", tracks="nodes", head=Readout("mean", sigmoid=True)),
        },
        contrasts=[
            Contrast(
                "summary",
                "nodes",
                score=Bilinear(start="normal"),
                loss=JensenShannon(),
                positive=same("graph") & same("corrupted"),
                negative=same("graph") & ~same("corrupted"),
            )
        ],
    )
    training = Training(epochs=epochs, optimiser=AdamW(2e-3, weight_decay=0.0), schedule=CosineDecay(), save_every=100)
    return Recipe(pipeline, source or Communities(), training)
