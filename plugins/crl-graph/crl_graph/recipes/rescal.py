from __future__ import annotations

from crl_core import Dot, InfoNCE, Loss, Recipe, Source

from ..encoders.matrices import Matrices
from ..encoders.table import Table
from ..heads.relations import MatrixProduct
from ..knowledge import knowledge_graph
from ..samplers.corruption import Corruption
from ..sources.family_tree import FamilyTree
from .triples import of_triples, training_for


def rescal(source: Source | None = None, size: int = 32, loss: Loss | None = None, negatives: int = 16) -> Recipe:
    """RESCAL: a relation is a matrix, tailᵀ · relation · head says how true a triple is.

    Paper: Nickel, Tresp, Kriegel 2011, A Three-Way Model for Collective Learning on Multi-Relational Data

    Checked against: the bilinear form itself. Differs in the loss: a softmax over drawn negatives instead of a
    least-squares fit of the whole tensor.

    Args:
        source: of triples; a family tree of 24 people by default.
    """
    source = source or FamilyTree()
    graph = knowledge_graph(source)
    pipeline = of_triples(
        Corruption(negatives),
        Table("entities", size, bound=0.5, sparse=True),
        Matrices("relations", size, sparse=True),
        MatrixProduct(),
        Dot(),
        loss or InfoNCE(),
    )
    return Recipe(pipeline, source, training_for(graph))
