from __future__ import annotations

from crl_core import (
    MLP,
    AdamW,
    Branch,
    Contrast,
    Cosine,
    CosineDecay,
    Encoder,
    InfoNCE,
    Pipeline,
    Recipe,
    Source,
    Training,
    same,
)

from ..encoders.gcn import GCN
from ..samplers.dropped import Dropped
from ..sources.communities import Communities


def grace(
    source: Source | None = None,
    encoder: Encoder | None = None,
    size: int = 128,
    temperature: float = 0.4,
    epochs: int = 200,
) -> Recipe:
    """GRACE: each node in one damaged view of the graph against itself in another, all other nodes are negatives.

    Paper: Zhu, Xu, Yu, Liu, Wu, Wang 2020, Deep Graph Contrastive Representation Learning

    Checked against: InfoNCE in both directions with negatives within and across views (equations 1 and 2), the
    settings for Cora: 20 and 40 % of the edges and 30 and 40 % of the features dropped, temperature 0.4, 200 epochs.
    Differs in the head, whose hidden layer has ReLU for ELU; in features as they are, where the source divides them by
    their sum, and two layers of the same width, where its first is twice as wide; and in a rate that falls from twice
    the source's.

    Args:
        source: of the nodes of one graph; a generated one that needs no download by default.
        encoder: of nodes; by default two graph convolutions.
    """
    head = MLP(size, norm=False)
    views = ("one", "other")
    pipeline = Pipeline(
        sampler=Dropped(edges=0.2, features=0.3, other_edges=0.4, other_features=0.4),
        branches={
            "nodes": Branch("a", encoder=encoder or GCN(size, depth=2, activation="relu")),
            "nodes of b": Branch("b", tracks="nodes"),
            "one": Branch(tap="nodes", head=head),
            "other": Branch(tap="nodes of b", head=head),
        },
        contrasts=[
            Contrast(
                views,
                views,
                score=Cosine(temperature),
                loss=InfoNCE(),
                positive=same("node") & ~same("row"),
            )
        ],
    )
    training = Training(epochs=epochs, optimiser=AdamW(1e-3, weight_decay=1e-5), schedule=CosineDecay(), save_every=100)
    return Recipe(pipeline, source or Communities(), training)
