from __future__ import annotations

from typing import ClassVar

import torch

from crl_core import Source, View, Views

from ..knowledge import Facts, knowledge_graph


class AllTails:
    """Every triple, with all entities for its tail: one true, all false ones, and no other that is true too.

    The view `tail` is `[N, entities]`, so this is for graphs of some thousands of entities; for larger ones there is
    `graph/corruption`. Its column `triple` is the triple's number at its own tail and -1 elsewhere; another tail that
    training knows to be true of this head and relation is no candidate (column `valid`).

    Args:
        source: of the triples.
    """

    views: ClassVar[tuple[str, ...]] = ("head", "relation", "tail")

    def __init__(self, source: Source) -> None:
        graph = knowledge_graph(source)
        self.source = source
        self._facts = Facts.of(graph.triples[graph.splits[0]], len(graph.entities), len(graph.relations))

    def __call__(self, batch: View) -> Views:
        self._facts = facts = self._facts.to(batch.data.device)
        head, relation, tail = batch.data.T.unsqueeze(-1)
        every = torch.arange(facts.entities, device=head.device).expand(len(head), -1)
        instance = batch.meta["instance"].unsqueeze(-1)
        own = every == tail
        columns = {"triple": torch.where(own, instance, -1), "valid": own | ~facts.have(head, relation, every)}
        return {
            "head": View(batch.data[:, 0], {**batch.meta, "triple": instance.squeeze(-1)}),
            "relation": View(batch.data[:, 1], batch.meta),
            "tail": View(every, {**batch.meta, **columns}),
        }

    def clean(self, batch: View) -> View:
        """The tails."""
        return View(batch.data[:, 2], batch.meta)
