from __future__ import annotations

import crl_core as crl
from crl_core import same

from ..graphs import Walked
from ..samplers.walks import Walks

OURS = {"q": 0.5, "schedule": crl.CosineDecay()}  # q as in the paper's figure 3


@crl.presets(karate=OURS | {"size": 16, "batch_size": 4}, communities=OURS)
def node2vec(
    graph: Walked = Walked(),
    size: int = 128,
    p: float = 1.0,
    q: float = 1.0,
    window: int = 10,
    batch_size: int = 8,
    most: float = 1.5,
) -> crl.Recipe:
    """node2vec: nodes that are near each other on biased random walks have like vectors.

    Paper: Grover, Leskovec 2016, node2vec: Scalable Feature Learning for Networks
    Checked: the exact second-order chances of a step; walks of 80 nodes, windows of 10, noise by the ¾ power of the
        count, a table of nodes and one of contexts as in the source. An epoch is one walk from every node.
    Differs: a step follows the mean over some walks' pairs, where the source steps for each pair. So the rate is
        word2vec's times the pairs, or less where one node has a large share of all edges and would be moved too far.

    Args:
        p, q: how seldom a walk steps back, and steps away.
        most: the rate is at most this times all edges over those of the node with the most.
    """
    sgd = crl.SGD(min(0.025 * batch_size * 80 * (window + 1), most * graph.evenness))
    nodes, contexts = crl.Table("nodes", size, 0.5 / size, sparse=True), crl.Table("nodes", size, 0.0, sparse=True)
    loss, true = crl.NegativeSampling(), same("pair")
    return graph.recipe(
        crl.Training(epochs=10, batch_size=batch_size, optimiser=sgd, schedule=crl.LinearDecay()),
        sampler=Walks(window=window, p=p, q=q),
        branches={"centre": crl.Branch("centre", encoder=nodes), "context": crl.Branch("context", encoder=contexts)},
        contrasts=[crl.Contrast("centre", "context", loss=loss, positive=true, negative=~true, keys=crl.PerQuery())],
    )
