"""Knowledge graphs: entities, relations between them, and the set of what is true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import attrs
import torch
from torch import Tensor

from crl_core import CrlError, Items, Source, View, did_you_mean


class Triples:
    """Triples `[N, 3]` of whole numbers (head, relation, tail), fetched by index."""

    def __init__(self, data: Tensor) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitems__(self, indices: list[int]) -> View:
        index = torch.tensor(indices)
        return View(self.data[index], {"instance": index})


class KnowledgeGraph:
    """What sources of triples have in common.

    Attributes:
        entities, relations: their names; the numbers in the triples are places in these.
        triples: `[N, 3]` (head, relation, tail) for every split, each once.
    """

    evaluators: ClassVar[tuple[str, ...]] = ("graph/filtered-ranking",)

    def __init__(self, entities: Sequence[str], relations: Sequence[str], triples: Mapping[str, Tensor]) -> None:
        self.entities, self.relations = tuple(entities), tuple(relations)
        self.triples = {split: _once(found) for split, found in triples.items()}
        first = next(iter(self.triples))
        if not len(self.triples[first]):
            raise CrlError(f"there are no triples to train on in {first!r}")

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.triples)

    @property
    def counts(self) -> dict[str, int]:
        return {"entities": len(self.entities), "relations": len(self.relations)}

    def items(self, split: str) -> Triples:
        if split not in self.triples:
            raise CrlError(f"no split {split!r}; there are {', '.join(self.splits)}.{did_you_mean(split, self.splits)}")
        return Triples(self.triples[split])


def knowledge_graph(source: Source) -> KnowledgeGraph:
    """The source, if its items are triples.

    Raises:
        CrlError: they are something else.
    """
    if not isinstance(source, KnowledgeGraph):
        raise CrlError(
            f"{type(source).__name__} has no triples of head, relation and tail; graph/triples reads them from files, "
            f"graph/family-tree and graph/pykeen-triples have some"
        )
    return source


def facts_of(items: Items, source: Source) -> Facts:
    """What is known to be true: the items, if they are triples.

    Raises:
        CrlError: they are something else.
    """
    counts = getattr(source, "counts", {})
    if not isinstance(items, Triples) or not {"entities", "relations"} <= set(counts):
        counts = knowledge_graph(source).counts
    assert isinstance(items, Triples)
    return Facts.of(items.data, counts["entities"], counts["relations"])


def of_triples(batch: View) -> dict[str, View]:
    """The heads, relations and tails of triples `[N, 3]`, each by itself."""
    return {name: View(batch.data[:, place], batch.meta) for place, name in enumerate(("head", "relation", "tail"))}


def without_source(options: dict[str, Any]) -> dict[str, Any]:
    """The options of a sampler that once had the source among them."""
    return {name: value for name, value in options.items() if name != "source"}


def met(facts: Facts | None, part: object) -> Facts:
    """The facts that a sampler knows.

    Raises:
        CrlError: it knows none yet.
    """
    if facts is None:
        raise CrlError(f"{type(part).__name__} doesn't know its source yet: call pipeline.build(batch, source), or fit")
    return facts


def _once(triples: Tensor) -> Tensor:
    """Without repetitions, in the order of their first appearance."""
    if not len(triples):
        return triples
    _, group = torch.unique(triples, dim=0, return_inverse=True)
    first = torch.full((int(group.max()) + 1,), len(triples)).scatter_reduce_(
        0, group, torch.arange(len(triples)), "amin"
    )
    return triples[first.sort().values]


@attrs.frozen(eq=False)
class Facts:
    """A set of triples that answers for millions at a time: sorted numbers, one for each, searched by halves.

    Attributes:
        numbers: `[T]`, sorted.
        entities, relations: how many there are.
    """

    numbers: Tensor
    entities: int
    relations: int

    @staticmethod
    def of(triples: Tensor, entities: int, relations: int) -> Facts:
        """The set of the rows of `[T, 3]`.

        Raises:
            CrlError: so many entities and relations that triples can't be numbered in 64 bits.
        """
        if entities**2 * relations >= 2**63:
            raise CrlError(f"{entities} entities with {relations} relations are too many to number their triples")
        numbers = (triples[:, 0] * relations + triples[:, 1]) * entities + triples[:, 2]
        return Facts(torch.unique(numbers), entities, relations)

    def have(self, head: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
        """Which of these triples are in the set: bool, of the shape to which the three broadcast."""
        wanted = (head * self.relations + relation) * self.entities + tail
        place = torch.searchsorted(self.numbers, wanted).clamp_(max=len(self.numbers) - 1)
        return self.numbers[place] == wanted

    def to(self, device: torch.device) -> Facts:
        return attrs.evolve(self, numbers=self.numbers.to(device))
