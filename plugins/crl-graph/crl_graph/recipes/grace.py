from __future__ import annotations

import crl_core as crl
from crl_core import same

from ..encoders.gcn import GCN
from ..graphs import OneGraph
from ..samplers.dropped import Dropped


@crl.presets(communities={"optimiser": crl.AdamW(1e-3, weight_decay=1e-5), "schedule": crl.CosineDecay()})
def grace(
    graph: OneGraph = OneGraph(), encoder: crl.Encoder | None = None, size: int = 128, temperature: float = 0.4
) -> crl.Recipe:
    """GRACE: each node in one damaged view of the graph against itself in another, all other nodes are negatives.

    Paper: Zhu, Xu, Yu, Liu, Wu, Wang 2020, Deep Graph Contrastive Representation Learning
    Checked: InfoNCE in both directions with negatives within and across views (equations 1 and 2), the settings for
        Cora: 20 and 40 % of the edges and 30 and 40 % of the features dropped, temperature 0.4, 200 epochs.
    Differs: the head's hidden layer has ReLU for ELU; features are as they are, where the source divides them by their
        sum; two layers of the same width, where its first is twice as wide.
    """
    head, adam = crl.MLP(size, norm=False), crl.Adam(5e-4, weight_decay=1e-5)
    views, twin = ("one", "other"), same("node") & ~same("row")
    return graph.recipe(
        crl.Training(epochs=200, optimiser=adam, schedule=crl.Constant(), save_every=100),
        sampler=Dropped(edges=0.2, features=0.3, other_edges=0.4, other_features=0.4),
        branches={
            "nodes": crl.Branch("a", encoder=encoder or GCN(size, depth=2, activation="relu")),
            "nodes of b": crl.Branch("b", tracks="nodes"),
            "one": crl.Branch(tap="nodes", head=head),
            "other": crl.Branch(tap="nodes of b", head=head),
        },
        contrasts=[crl.Contrast(views, views, loss=crl.InfoNCE(), score=crl.Cosine(temperature), positive=twin)],
    )
