from __future__ import annotations

from typing import Any, ClassVar

import torch

from crl_core import Items, Source, View, Views

from ..knowledge import Facts, facts_of, met, of_triples, without_source


class AllTails:
    """Every triple, with all entities as tails: the true one, and all that are not known to be true.

    The view `tail` is `[N, entities]`, so this is for graphs of some thousands of entities; for larger graphs there is
    `graph/corruption`. Its column `triple` is the triple's number at its own tail and -1 elsewhere. Other tails that
    are true of this head and relation in training are no candidates (column `valid`).

    >>> from crl_graph.samplers.all_tails import AllTails
    >>> from crl_graph.sources.family_tree import FamilyTree
    >>> source, sampler = FamilyTree(), AllTails()
    >>> items = source.items("train")
    >>> sampler.on_source(items, source)
    >>> {name: tuple(view.data.shape) for name, view in sampler(items.__getitems__([0, 1])).items()}
    {'head': (2,), 'relation': (2,), 'tail': (2, 24)}

    Raises:
        CrlError: the source's items are no triples, or it has not seen the source yet.
    """

    views: ClassVar[tuple[str, ...]] = ("head", "relation", "tail")

    def __init__(self) -> None:
        self._facts: Facts | None = None

    @staticmethod
    def upgrade(options: dict[str, Any]) -> dict[str, Any]:
        """The source was once an option; now it is the run's."""
        return without_source(options)

    def on_source(self, items: Items, source: Source) -> None:
        self._facts = facts_of(items, source)

    def __call__(self, batch: View) -> Views:
        self._facts = facts = met(self._facts, self).to(batch.data.device)
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

    def clean(self, batch: View) -> Views:
        return of_triples(batch)
