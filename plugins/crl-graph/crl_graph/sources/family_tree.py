from __future__ import annotations

import torch

from crl_core import CrlError

from ..knowledge import KnowledgeGraph

# Husband, wife, their sons and daughters: two families with one and the same tree (Hinton 1986).
_FAMILIES = (
    (
        ("Christopher", "Penelope", ("Arthur",), ("Victoria",)),
        ("Andrew", "Christine", ("James",), ("Jennifer",)),
        ("Arthur", "Margaret", (), ()),
        ("James", "Victoria", ("Colin",), ("Charlotte",)),
        ("Charles", "Jennifer", (), ()),
    ),
    (
        ("Roberto", "Maria", ("Emilio",), ("Lucia",)),
        ("Pierro", "Francesca", ("Marco",), ("Angela",)),
        ("Emilio", "Gina", (), ()),
        ("Marco", "Lucia", ("Alfonso",), ("Sophia",)),
        ("Tomaso", "Angela", (), ()),
    ),
)
_RELATIONS = (
    "husband", "wife", "father", "mother", "son", "daughter", "brother", "sister", "uncle", "aunt", "nephew", "niece",
)  # fmt: skip


class FamilyTree(KnowledgeGraph):
    """Hinton's family trees: 112 triples of 24 people and 12 relations (Hinton 1986).

    (Colin, father, James) says that Colin's father is James. Uncles and aunts include those by marriage.

    >>> from crl_graph.sources.family_tree import FamilyTree
    >>> source = FamilyTree()
    >>> source.counts, len(source.items("train"))
    ({'entities': 24, 'relations': 12}, 100)
    >>> head, relation, tail = source.items("train").data[0]
    >>> source.entities[head], source.relations[relation], source.entities[tail]
    ('Jennifer', 'niece', 'Charlotte')

    Args:
        held_out: triples for the test, drawn by the seed.
        seed: of the draw.

    Raises:
        CrlError: `held_out` is not from 1 to 100.
    """

    def __init__(self, held_out: int = 12, seed: int = 0) -> None:
        if not 1 <= held_out <= 100:
            raise CrlError(f"of 112 triples 1 to 100 can be held out, not {held_out}")
        self.held_out, self.seed = held_out, seed
        named = sorted(fact for family in _FAMILIES for fact in _facts(family))
        people = sorted({person for head, _, tail in named for person in (head, tail)})
        triples = torch.tensor([[people.index(h), _RELATIONS.index(r), people.index(t)] for h, r, t in named])
        order = torch.randperm(len(triples), generator=torch.Generator().manual_seed(seed))
        super().__init__(people, _RELATIONS, {"train": triples[order[held_out:]], "test": triples[order[:held_out]]})


def _facts(couples: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...]], ...]) -> set[tuple[str, str, str]]:
    """Every relation of a family, from its couples and their children."""
    spouse = {one: other for him, her, _, _ in couples for one, other in ((him, her), (her, him))}
    men = {him for him, *_ in couples} | {son for *_, sons, _ in couples for son in sons}
    parents = {child: (him, her) for him, her, sons, daughters in couples for child in (*sons, *daughters)}

    def siblings(person: str) -> list[str]:
        return [other for other in parents if other != person and parents[other] == parents.get(person)]

    facts = {(person, "husband" if other in men else "wife", other) for person, other in spouse.items()}
    for child, pair in parents.items():
        for parent in pair:
            facts.add((child, "father" if parent in men else "mother", parent))
            facts.add((parent, "son" if child in men else "daughter", child))
            by_blood = siblings(parent)
            for relative in by_blood + [spouse[sibling] for sibling in by_blood if sibling in spouse]:
                facts.add((child, "uncle" if relative in men else "aunt", relative))
                facts.add((relative, "nephew" if child in men else "niece", child))
        facts |= {(child, "brother" if other in men else "sister", other) for other in siblings(child)}
    return facts
