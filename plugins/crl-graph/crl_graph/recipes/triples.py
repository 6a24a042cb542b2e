"""What the recipes for knowledge graphs share."""

from __future__ import annotations

from crl_core import (
    Branch,
    Contrast,
    CosineDecay,
    Encoder,
    Head,
    Loss,
    PerQuery,
    Pipeline,
    Sampler,
    Score,
    SparseAdam,
    Training,
    same,
)

from ..knowledge import KnowledgeGraph


def of_triples(
    sampler: Sampler, entities: Encoder, relations: Encoder, head: Head, score: Score, loss: Loss
) -> Pipeline:
    """What a relation makes of a head, against tails; heads and tails are looked up in one table."""
    return Pipeline(
        sampler,
        branches={
            "tail": Branch("tail", encoder=entities),
            "query": Branch(("head", "relation"), encoder={"head": entities, "relation": relations}, head=head),
        },
        contrasts=[
            Contrast(
                "query",
                "tail",
                keys=PerQuery(),
                score=score,
                loss=loss,
                positive=same("triple"),
                negative=~same("triple"),
            )
        ],
    )


def few(graph: KnowledgeGraph) -> bool:
    """So few triples that an epoch is over at once."""
    return len(graph.items(graph.splits[0])) < 1_000


def training_for(graph: KnowledgeGraph) -> Training:
    """Adam for tables, without decay; 200 epochs of few triples, 100 of many."""
    return Training(
        epochs=200 if few(graph) else 100,
        batch_size=32 if few(graph) else 256,
        optimiser=SparseAdam(5e-3),
        schedule=CosineDecay(),
    )
