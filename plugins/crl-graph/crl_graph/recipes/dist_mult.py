from __future__ import annotations

from crl_core import Dot, InfoNCE, Loss, Recipe, Source

from ..encoders.table import Table
from ..heads.relations import Diagonal
from ..knowledge import knowledge_graph
from ..samplers.corruption import Corruption
from ..sources.family_tree import FamilyTree
from .triples import of_triples, training_for


def dist_mult(source: Source | None = None, size: int = 64, loss: Loss | None = None, negatives: int = 16) -> Recipe:
    """DistMult: RESCAL with diagonal matrices, which can't tell a head from its tail.

    Paper: Yang, Yih, He, Gao, Deng 2015, Embedding Entities and Relations for Learning and Inference in
    Knowledge Bases

    Checked against: the trilinear form itself, which is the same with head and tail exchanged. Differs in the loss:
    a softmax over the negatives instead of a margin.

    Args:
        source: of triples; a family tree of 24 people by default.
    """
    source = source or FamilyTree()
    graph = knowledge_graph(source)
    pipeline = of_triples(
        Corruption(negatives),
        Table("entities", size, bound=0.5, sparse=True),
        Table("relations", size, bound=0.5, sparse=True),
        Diagonal(),
        Dot(),
        loss or InfoNCE(),
    )
    return Recipe(pipeline, source, training_for(graph))
