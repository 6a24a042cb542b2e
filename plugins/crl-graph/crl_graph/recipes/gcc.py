from __future__ import annotations

from crl_core.branch import Branch
from crl_core.contrast import Contrast
from crl_core.engine.training import Training
from crl_core.parts.losses.info_nce import InfoNCE
from crl_core.parts.memories.queue import Queue
from crl_core.parts.scores.cosine import Cosine
from crl_core.parts.updates.momentum import Momentum
from crl_core.pipeline import Pipeline
from crl_core.protocols import Source
from crl_core.recipe import Recipe
from crl_core.relation import same

from ..encoders.gin import GIN
from ..encoders.positional import Positional
from ..samplers.subgraphs import Subgraphs
from ..sources.communities import Communities
from ..sources.seeds import Seeds


def gcc(
    source: Source | None = None,
    size: int = 64,
    depth: int = 5,
    temperature: float = 0.07,
    queue: int | None = None,
    momentum: float | None = None,
) -> Recipe:
    """GCC: two walks' subgraphs around each node are positives, earlier nodes' subgraphs in a queue are negatives.

    Paper: Qiu, Chen, Dong, Zhang, Yang, Ding, Wang, Tang 2020, GCC: Graph Contrastive Coding for Graph Neural
    Network Pre-Training

    Checked against: eigenvectors, degree and ego mark of each subgraph as its features, restart 0.8, walks of 64
    steps, seeds by degree to the power 0.75, temperature 0.07, a key encoder without gradient that follows by
    momentum. One linear map of all layers' means stands for the source's sum of one for each; without its dropout.
    On the default graph, whose nodes have much the same surroundings, the loss against the queue has not yet been seen
    to fall below a blind guess: it is there to try the parts, not to show what GCC can do.

    Args:
        source: of the nodes of one graph; a generated one that needs no download by default.
        queue: keys remembered; by default 16,384 for graphs of as many nodes, and half the nodes for smaller ones.
        momentum: by default 0.999 as in the paper for large graphs, and 0.99 for those below 16,384 nodes.
    """
    nodes = source or Communities()
    many = len(nodes.items(nodes.splits[0])) >= 16_384
    if queue is None:
        queue = 16_384 if many else max(1, len(nodes.items(nodes.splits[0])) // 2)
    if momentum is None:
        momentum = 0.999 if many else 0.99
    pipeline = Pipeline(
        sampler=Subgraphs(),
        branches={
            "query": Branch("a", encoder=Positional(GIN(size, depth, readout="mean"), size)),
            "key": Branch("b", tracks="query", update=Momentum(momentum)),
        },
        contrasts=[
            Contrast(
                "query",
                "key",
                score=Cosine(temperature),
                loss=InfoNCE(),
                positive=same("node") & same("batch"),
                negative=~same("node"),
                memory=Queue(queue),
            )
        ],
    )
    training = Training(epochs=30, batch_size=32, learning_rate=1e-3, weight_decay=1e-5, warmup=1.0, clip=1.0)
    return Recipe(pipeline, Seeds(nodes), training)
