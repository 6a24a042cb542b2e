from __future__ import annotations

from typing import Literal

import crl_core as crl
from crl_core import same

from ..encoders.gin import GIN
from ..encoders.positional import Positional
from ..graphs import OneGraph
from ..samplers.subgraphs import Subgraphs
from ..sources.roles import Roles

E2E = {"form": "e2e", "batch_size": 1_024}
ROLES = {"epochs": 30, "optimiser": crl.AdamW(5e-3, weight_decay=1e-5), "schedule": crl.CosineDecay(warmup=3.0)}
SMALL = {"queue": 700, "momentum": 0.99}  # half of the 1,400 nodes


@crl.presets(**{"roles": ROLES | SMALL, "roles-e2e": ROLES | E2E | {"batch_size": 128}, "e2e": E2E})
def gcc(
    graph: OneGraph = OneGraph(Roles()),
    form: Literal["moco", "e2e"] = "moco",
    size: int = 64,
    depth: int = 5,
    temperature: float = 0.07,
    queue: int = 16_384,
    momentum: float = 0.999,
) -> crl.Recipe:
    """GCC: two walks' subgraphs around each node are positives, the subgraphs of other nodes are negatives.

    Paper: Qiu, Chen, Dong, Zhang, Yang, Ding, Wang, Tang 2020, GCC: Graph Contrastive Coding for Graph Neural
        Network Pre-Training
    Checked: eigenvectors, degree and ego mark of each subgraph as its features, restart 0.8, walks of 256 steps, seeds
        by degree to the power 0.75, a key encoder without gradient whose batch normalisation goes on by the batch.
    Differs: one linear map of all layers' means, where the source adds up one of each layer's sum, without its dropout;
        earlier subgraphs of the same node are no negatives; an epoch has as many nodes as the graph, not 24,000.

    Args:
        form: "moco", a queue and a momentum encoder; "e2e", the batch and one encoder trained from both sides.
    """
    moco, adam = {"moco": True, "e2e": False}[form], crl.Adam(5e-3, weight_decay=1e-5)
    query = crl.Branch("a", encoder=Positional(GIN(size, depth, readout="mean"), size))
    key = crl.Branch("b", tracks="query", update=crl.Momentum(momentum) if moco else crl.Shared())
    score, loss, keys = crl.Cosine(temperature), crl.InfoNCE(), [crl.Queue(queue)] if moco else []
    true, false = same("node") & same("batch"), ~same("node") & ~same("batch") if moco else ~same("node")
    return graph.by_degree(0.75).recipe(
        crl.Training(epochs=100, batch_size=32, optimiser=adam, schedule=crl.LinearDecay(warmup=10.0), clip=1.0),
        sampler=Subgraphs(),
        branches={"query": query, "key": key},
        contrasts=[crl.Contrast("query", "key", score=score, loss=loss, positive=true, negative=false, keys=keys)],
    )
