from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from crl_core import CrlError, Items, Source, View, Views, did_you_mean

from ..knowledge import Facts, facts_of, met, of_triples, without_source

_SHARE = {"either": 0.5, "head": 1.0, "tail": 0.0}


class Corruption:
    """Every triple, and false triples with another head or tail (Bordes et al. 2013, equation 2).

    The views `head` and `tail` are `[N, 1 + negatives]`, the triple itself first; `relation` is `[N]`. The column
    `triple` of both is the triple's number for the triple itself; the tails of false triples have -1.

    Entities are drawn from the source's, and its training triples are known to be true.

    >>> from crl_graph.samplers.corruption import Corruption
    >>> from crl_graph.sources.family_tree import FamilyTree
    >>> source, sampler = FamilyTree(), Corruption(negatives=3)
    >>> items = source.items("train")
    >>> sampler.on_source(items, source)
    >>> {name: tuple(view.data.shape) for name, view in sampler(items.__getitems__([0, 1])).items()}
    {'head': (2, 4), 'relation': (2,), 'tail': (2, 4)}

    Args:
        negatives: false triples for each true one.
        side: what is replaced: "head", "tail", or for each true triple "either" at random.
        filtered: a false triple is never one that is known to be true: it is drawn again once, and if that is
            known as well, it is no candidate (column `valid`).

    Raises:
        CrlError: the source's items are no triples, or it has not seen the source yet.
    """

    views: ClassVar[tuple[str, ...]] = ("head", "relation", "tail")

    def __init__(
        self,
        negatives: int = 1,
        side: Literal["either", "head", "tail"] = "either",
        filtered: bool = True,
    ) -> None:
        if side not in _SHARE:
            raise CrlError(f"side is {', '.join(map(repr, _SHARE))}, not {side!r}.{did_you_mean(side, _SHARE)}")
        if negatives < 1:
            raise CrlError(f"at least 1 negative for each triple, not {negatives}")
        self.negatives, self.side, self.filtered = negatives, side, filtered
        self._facts: Facts | None = None

    @staticmethod
    def upgrade(options: dict[str, Any]) -> dict[str, Any]:
        """The source was once an option; now it is the run's."""
        return without_source(options)

    def on_source(self, items: Items, source: Source) -> None:
        facts = facts_of(items, source)
        if facts.entities < 2:
            raise CrlError("a triple with the only entity there is can't be corrupted")
        self._facts = facts

    def __call__(self, batch: View) -> Views:
        self._facts = met(self._facts, self).to(batch.data.device)
        head, relation, tail = batch.data.T.unsqueeze(-1)
        false_head, false_tail, valid = self._corrupted(head, relation, tail)
        instance = batch.meta["instance"].unsqueeze(-1)
        triple = torch.cat([instance, instance.new_full(false_tail.shape, -1)], dim=1)
        known = {} if valid is None else {"valid": torch.cat([torch.ones_like(head, dtype=torch.bool), valid], dim=1)}
        return {
            "head": View(torch.cat([head, false_head], dim=1), {**batch.meta, "triple": instance.expand_as(triple)}),
            "relation": View(batch.data[:, 1], batch.meta),
            "tail": View(torch.cat([tail, false_tail], dim=1), {**batch.meta, "triple": triple, **known}),
        }

    def clean(self, batch: View) -> Views:
        return of_triples(batch)

    def _corrupted(self, head: Tensor, relation: Tensor, tail: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """False heads and tails `[N, K]` for those `[N, 1]`, and which of these triples are not known to be true."""
        at_head = torch.rand(head.shape, device=head.device) < _SHARE[self.side]
        replaced = torch.where(at_head, head, tail)

        def with_other(other: Tensor) -> tuple[Tensor, Tensor]:
            return torch.where(at_head, other, head), torch.where(at_head, tail, other)

        facts = met(self._facts, self)
        other = self._other_than(replaced, facts.entities)
        if not self.filtered:
            return *with_other(other), None
        # Once more for every batch: a look at whether any is left would make the host wait for a GPU.
        heads, tails = with_other(other)
        other = torch.where(facts.have(heads, relation, tails), self._other_than(replaced, facts.entities), other)
        heads, tails = with_other(other)
        return heads, tails, ~facts.have(heads, relation, tails)

    def _other_than(self, entity: Tensor, entities: int) -> Tensor:
        """Entities `[N, K]`, each another than that of its row `[N, 1]`."""
        shape = (len(entity), self.negatives)
        drawn = torch.randint(entities - 1, shape, device=entity.device)
        return drawn + (drawn >= entity)
