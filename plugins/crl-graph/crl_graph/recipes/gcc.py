from __future__ import annotations

from typing import Literal

from crl_core import (
    AdamW,
    Branch,
    Contrast,
    Cosine,
    CosineDecay,
    CrlError,
    InfoNCE,
    Momentum,
    Pipeline,
    Queue,
    Recipe,
    Shared,
    Source,
    Training,
    Update,
    same,
)

from ..encoders.gin import GIN
from ..encoders.positional import Positional
from ..samplers.subgraphs import Subgraphs
from ..sources.roles import Roles
from ..sources.seeds import Seeds


def gcc(
    source: Source | None = None,
    form: Literal["moco", "e2e"] = "moco",
    size: int = 64,
    depth: int = 5,
    temperature: float = 0.07,
    queue: int | None = None,
    momentum: float | None = None,
    epochs: int = 30,
) -> Recipe:
    """GCC: two walks' subgraphs around each node are positives, the subgraphs of other nodes are negatives.

    Paper: Qiu, Chen, Dong, Zhang, Yang, Ding, Wang, Tang 2020, GCC: Graph Contrastive Coding for Graph Neural
    Network Pre-Training

    Checked against: eigenvectors, degree and ego mark of each subgraph as its features, restart 0.8, walks of 256
    steps whatever the degree, seeds by degree to the power 0.75, temperature 0.07, a key encoder without gradient that
    follows by momentum, whose batch normalisation goes on by the batch. What the subgraph looks like is learned, not
    where it lies: labels should be roles of nodes, not communities. Differs in one linear map of all layers' means,
    where the source adds up one of each layer's sum, without its dropout; and in keeping earlier subgraphs of the same
    node out of the negatives.

    Args:
        source: of the nodes of one graph; a generated one that needs no download by default.
        form: "moco", a queue of earlier nodes' keys and an encoder of keys that follows by momentum; or "e2e", the
            batch's other nodes and one encoder trained from both sides.
        queue: keys remembered; by default 16,384 for graphs of as many nodes, and half the nodes for smaller ones.
        momentum: by default 0.999 as in the paper for large graphs, and 0.99 for those below 16,384 nodes.
    """
    if form not in ("moco", "e2e"):
        raise CrlError(f'the form is "moco" or "e2e", not {form!r}')
    nodes = source or Roles()
    count = len(nodes.items(nodes.splits[0]))
    if queue is None:
        queue = 16_384 if count >= 16_384 else max(1, count // 2)
    if momentum is None:
        momentum = 0.999 if count >= 16_384 else 0.99
    keys: list[Queue] = []
    update: Update = Shared()
    negative, batch_size = ~same("node"), 128
    if form == "moco":
        keys, update = [Queue(queue)], Momentum(momentum)
        negative, batch_size = negative & ~same("batch"), 32
    pipeline = Pipeline(
        sampler=Subgraphs(),
        branches={
            "query": Branch("a", encoder=Positional(GIN(size, depth, readout="mean"), size)),
            "key": Branch("b", tracks="query", update=update),
        },
        contrasts=[
            Contrast(
                "query",
                "key",
                score=Cosine(temperature),
                loss=InfoNCE(),
                positive=same("node") & same("batch"),
                negative=negative,
                keys=keys,
            )
        ],
    )
    training = Training(
        epochs=epochs,
        batch_size=batch_size,
        optimiser=AdamW(5e-3, weight_decay=1e-5),
        schedule=CosineDecay(warmup=epochs / 10),
        clip=1.0,
    )
    return Recipe(pipeline, Seeds(nodes), training)
