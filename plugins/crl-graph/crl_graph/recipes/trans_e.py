from __future__ import annotations

from typing import Literal

from crl_core import L1, L2, CrlError, Loss, Recipe, Source

from ..encoders.table import Table
from ..heads.relations import Translation
from ..knowledge import knowledge_graph
from ..losses.margin_ranking import MarginRanking
from ..samplers.corruption import Corruption
from ..sources.family_tree import FamilyTree
from .triples import few, of_triples, training_for


def trans_e(
    source: Source | None = None,
    size: int = 64,
    distance: Literal["l1", "l2"] | None = None,
    loss: Loss | None = None,
    negatives: int = 1,
    side: Literal["either", "head", "tail"] = "either",
    filtered: bool = True,
) -> Recipe:
    """TransE: a relation is a translation, so that head + relation is near the tail.

    Paper: Bordes, Usunier, Garcia-Duran, Weston, Yakhnenko 2013, Translating Embeddings for Modeling
    Multi-relational Data

    Checked against: the loss of PyG's TransE on the same triples, and pykeen's filtered ranks of the same scores;
    entities have length 1 again after every step, relations at the start alone (algorithm 1); head or tail is
    corrupted, by a coin for each. Differs in the optimiser, Adam instead of SGD, and in that no false triple is
    one that is known to be true.

    Args:
        source: of triples; a family tree of 24 people by default.
        distance: by default L1, and L2 for less than a thousand triples, where it does better.
        loss: a margin of 1 by default; `graph/self-adversarial` with 16 negatives does better.
        side: "tail" is what Le-Khac et al. 2020 write of the method.
        filtered: without it, as in the paper, a false triple may happen to be one that is known to be true.
    """
    source = source or FamilyTree()
    graph = knowledge_graph(source)
    distance = distance or ("l2" if few(graph) else "l1")
    if distance not in ("l1", "l2"):
        raise CrlError(f'distance is "l1" or "l2", not {distance!r}')
    pipeline = of_triples(
        Corruption(negatives, side, filtered),
        Table("entities", size, normalise="always", sparse=True),
        Table("relations", size, normalise="start", sparse=True),
        Translation(),
        L1() if distance == "l1" else L2(),
        loss or MarginRanking(),
    )
    return Recipe(pipeline, source, training_for(graph))
