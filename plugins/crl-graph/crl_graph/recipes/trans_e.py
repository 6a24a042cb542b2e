from __future__ import annotations

from typing import Literal

import crl_core as crl
from crl_core import same

from ..graphs import FAMILY_TREE, UMLS, Knowledge
from ..heads.relations import Translation
from ..losses.margin_ranking import MarginRanking
from ..samplers.corruption import Corruption

OURS = {"size": 64, "filtered": True}


@crl.presets(**{"family-tree": FAMILY_TREE | OURS | {"distance": "l2"}, "umls": UMLS | OURS})
def trans_e(
    facts: Knowledge = Knowledge(),
    size: int = 50,
    distance: Literal["l1", "l2"] = "l1",
    loss: crl.Loss | None = None,
    negatives: int = 1,
    filtered: bool = False,
    batch_size: int = 4_831,
) -> crl.Recipe:
    """TransE: a relation is a translation, so that head + relation is near the tail.

    Paper: Bordes, Usunier, Garcia-Duran, Weston, Yakhnenko 2013, Translating Embeddings for Modeling Multi-relational
        Data
    Checked: the loss of PyG's TransE on the same triples, and pykeen's filtered ranks of the same scores; entities have
        length 1 again after every step, relations at the start alone (algorithm 1); head or tail is corrupted, by a
        coin. Settings are those for FB15k, of which 500 epochs of 100 batches are in the authors' script.
    Differs: the last epoch's vectors, where the paper takes the best of those validated.

    Args:
        loss: a margin of 1 by default; `graph/self-adversarial` with 16 negatives does better.
        filtered: false triples are never known to be true; the paper's may be.
        batch_size: the paper adds up the loss of its triples, at a rate of 0.01; their mean has so many times the rate.
    """
    sgd, score = crl.SGD(0.01 * min(batch_size, facts.count)), {"l1": crl.L1, "l2": crl.L2}[distance]()
    entities = crl.Table("entities", size, normalise="always", sparse=True)
    relations = crl.Table("relations", size, normalise="start", sparse=True)
    query = crl.Branch(("head", "relation"), encoder={"head": entities, "relation": relations}, head=Translation())
    loss, true = loss or MarginRanking(), same("triple")
    contrast = crl.Contrast("query", "tail", score=score, loss=loss, positive=true, negative=~true, keys=crl.PerQuery())
    return facts.recipe(
        crl.Training(epochs=500, batch_size=batch_size, optimiser=sgd, schedule=crl.Constant()),
        sampler=Corruption(negatives, filtered=filtered),
        branches={"tail": crl.Branch("tail", encoder=entities), "query": query},
        contrasts=[contrast],
    )
