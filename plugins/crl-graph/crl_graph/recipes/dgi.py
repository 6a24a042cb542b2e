from __future__ import annotations

import crl_core as crl
from crl_core import same

from ..encoders.gcn import GCN
from ..graphs import COMMUNITIES, OneGraph
from ..heads.readout import Readout
from ..samplers.feature_shuffle import FeatureShuffle


@crl.presets(communities=COMMUNITIES)
def dgi(graph: OneGraph = OneGraph(), encoder: crl.Encoder | None = None, size: int = 512) -> crl.Recipe:
    """DGI: a graph's summary against its nodes, and against the nodes of the same graph with shuffled features.

    Paper: Veličković, Fedus, Hamilton, Liò, Bengio, Hjelm 2019, Deep Graph Infomax
    Checked: PyG's DeepGraphInfomax.loss on the same numbers; features that sum to 1 for each node, sigmoid after the
        mean, a summary that gets its gradient, a shuffle of features alone.
    Differs: it ends after 300 epochs; the source ends when the training loss has not fallen for 20 of them.

    Args:
        encoder: of nodes; by default one graph convolution with PReLU.
    """
    score, loss = crl.Bilinear(start="normal"), crl.JensenShannon()
    true, false = same("graph") & same("corrupted"), same("graph") & ~same("corrupted")
    return graph.recipe(
        crl.Training(epochs=300, optimiser=crl.Adam(1e-3), schedule=crl.Constant(), save_every=100),
        sampler=FeatureShuffle(),
        branches={
            "nodes": crl.Branch("graph", encoder=encoder or GCN(size, normalise=True)),
            "summary": crl.Branch("graph", tracks="nodes", head=Readout("mean", sigmoid=True)),
        },
        contrasts=[crl.Contrast("summary", "nodes", loss=loss, score=score, positive=true, negative=false)],
    )
