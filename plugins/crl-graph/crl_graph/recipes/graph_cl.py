from __future__ import annotations

from crl_core import (
    MLP,
    AdamW,
    Branch,
    Contrast,
    Cosine,
    CosineDecay,
    Decoupled,
    Encoder,
    Pipeline,
    Recipe,
    Source,
    Training,
)

from ..encoders.gin import GIN
from ..samplers.dropped import Dropped
from ..sources.families import Families


def graph_cl(
    source: Source | None = None, encoder: Encoder | None = None, size: int = 32, depth: int = 3, rate: float = 0.2
) -> Recipe:
    """GraphCL: two views of each graph without some of its edges and nodes, the batch's other graphs as negatives.

    Paper: You, Chen, Sui, Chen, Wang, Shen 2020, Graph Contrastive Learning with Augmentations

    Checked against: one view against the other with cosine scores at temperature 0.2, the positive not among the
    negatives (equation 3), GIN with all layers side by side, a head of two layers. Differs in dropping edges and
    nodes together, where the source draws one augmentation for each view.

    Args:
        source: of graphs; generated families that need no download by default.
        encoder: of graphs; by default GIN.
        rate: chance of each edge, and of each node, to be dropped.
    """
    head = MLP(size * depth, norm=False)
    pipeline = Pipeline(
        sampler=Dropped(edges=rate, nodes=rate),
        branches={
            "graphs": Branch("a", encoder=encoder or GIN(size, depth, readout="sum")),
            "others": Branch("b", tracks="graphs"),
            "query": Branch(tap="graphs", head=head),
            "key": Branch(tap="others", head=head),
        },
        contrasts=[Contrast("query", "key", score=Cosine(0.2), loss=Decoupled())],
    )
    training = Training(epochs=20, batch_size=128, optimiser=AdamW(1e-3, weight_decay=0.0), schedule=CosineDecay())
    return Recipe(pipeline, source or Families(), training)
