from __future__ import annotations

import crl_core as crl
from crl_core import same

from ..graphs import FAMILY_TREE, UMLS, Knowledge
from ..heads.relations import Diagonal
from ..losses.margin_ranking import MarginRanking
from ..samplers.corruption import Corruption

OURS = {"size": 64, "loss": "core/info-nce", "negatives": 16, "unit": False}


@crl.presets(**{"family-tree": FAMILY_TREE | OURS, "umls": UMLS | OURS})
def dist_mult(
    facts: Knowledge = Knowledge(), size: int = 100, loss: crl.Loss | None = None, negatives: int = 2, unit: bool = True
) -> crl.Recipe:
    """DistMult: RESCAL with diagonal matrices, which can't tell a head from its tail.

    Paper: Yang, Yih, He, Gao, Deng 2015, Embedding Entities and Relations for Learning and Inference in Knowledge Bases
    Checked: the trilinear form, which is the same with head and tail exchanged. Settings for FB15k, in ten batches.
    Differs: both false triples of a true one have another head, or both another tail, by a coin, and none is known to
        be true; relations have no L2 penalty.

    Args:
        loss: a margin of 1 by default.
        unit: entities' vectors have length 1 after every step.
    """
    entities = crl.Table("entities", size, bound=0.5, normalise="always" if unit else None, sparse=True)
    relations = crl.Table("relations", size, bound=0.5, sparse=True)
    query = crl.Branch(("head", "relation"), encoder={"head": entities, "relation": relations}, head=Diagonal())
    score, loss, true = crl.Dot(), loss or MarginRanking(), same("triple")
    contrast = crl.Contrast("query", "tail", score=score, loss=loss, positive=true, negative=~true, keys=crl.PerQuery())
    return facts.recipe(
        crl.Training(epochs=100, batch_size=48_314, optimiser=crl.Adagrad(0.1), schedule=crl.Constant()),
        sampler=Corruption(negatives),
        branches={"tail": crl.Branch("tail", encoder=entities), "query": query},
        contrasts=[contrast],
    )
