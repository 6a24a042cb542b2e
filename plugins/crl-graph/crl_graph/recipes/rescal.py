from __future__ import annotations

import crl_core as crl
from crl_core import same

from ..encoders.matrices import Matrices
from ..graphs import FAMILY_TREE, UMLS, Knowledge
from ..heads.relations import MatrixProduct
from ..samplers.corruption import Corruption


@crl.presets(**{"family-tree": FAMILY_TREE | {"size": 32}, "umls": UMLS | {"size": 32}})
def rescal(
    facts: Knowledge = Knowledge(), size: int = 100, loss: crl.Loss | None = None, negatives: int = 16
) -> crl.Recipe:
    """RESCAL: a relation is a matrix, tailᵀ · relation · head says how true a triple is.

    Paper: Nickel, Tresp, Kriegel 2011, A Three-Way Model for Collective Learning on Multi-Relational Data
    Checked: the bilinear form itself.
    Differs: a softmax over drawn negatives and Adam on batches, where the paper fits the whole tensor by alternating
        least squares. So the size alone is the authors', of their example on Kinships; the rest of `paper` is ours.
    """
    entities = crl.Table("entities", size, bound=0.5, sparse=True)
    relations = Matrices("relations", size, sparse=True)
    query = crl.Branch(("head", "relation"), encoder={"head": entities, "relation": relations}, head=MatrixProduct())
    score, loss, true = crl.Dot(), loss or crl.InfoNCE(), same("triple")
    contrast = crl.Contrast("query", "tail", score=score, loss=loss, positive=true, negative=~true, keys=crl.PerQuery())
    return facts.recipe(
        crl.Training(epochs=100, batch_size=256, optimiser=crl.SparseAdam(5e-3), schedule=crl.CosineDecay()),
        sampler=Corruption(negatives),
        branches={"tail": crl.Branch("tail", encoder=entities), "query": query},
        contrasts=[contrast],
    )
