from __future__ import annotations

import crl_core as crl

from ..encoders.gin import GIN
from ..graphs import FAMILIES, GraphSet
from ..samplers.dropped import Dropped


@crl.presets(families=FAMILIES)
def graph_cl(
    graphs: GraphSet = GraphSet(), encoder: crl.Encoder | None = None, size: int = 32, depth: int = 3, rate: float = 0.2
) -> crl.Recipe:
    """GraphCL: two views of each graph without some of its edges and nodes, the batch's other graphs as negatives.

    Paper: You, Chen, Sui, Chen, Wang, Shen 2020, Graph Contrastive Learning with Augmentations
    Checked: one view against the other with cosine scores at temperature 0.2, the positive not among the negatives
        (equation 3), GIN with all layers side by side, a head of two layers.
    Differs: both views lose edges and nodes; the source draws one augmentation for each view.

    Args:
        rate: chance of each edge, and of each node, to be dropped.
    """
    head = crl.MLP(size * depth, norm=False)
    return graphs.recipe(
        crl.Training(epochs=20, batch_size=128, optimiser=crl.Adam(1e-2), schedule=crl.Constant()),
        sampler=Dropped(edges=rate, nodes=rate),
        branches={
            "graphs": crl.Branch("a", encoder=encoder or GIN(size, depth, readout="sum")),
            "others": crl.Branch("b", tracks="graphs"),
            "query": crl.Branch(tap="graphs", head=head),
            "key": crl.Branch(tap="others", head=head),
        },
        contrasts=[crl.Contrast("query", "key", score=crl.Cosine(0.2), loss=crl.Decoupled())],
    )
