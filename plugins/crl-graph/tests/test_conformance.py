"""Every part of crl-graph by every check of its kind."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from crl_core.protocols import View
from crl_core.testing import conformance

FILES = Path(tempfile.mkdtemp(prefix="crl-graph-"))

# -- knowledge graphs and walks ------------------------------------------------------------------------------


def triple_files(name: str) -> dict[str, Any]:
    folder = FILES / name
    folder.mkdir(exist_ok=True)
    people = [f"{letter}{number}" for letter in "abc" for number in range(4)]
    for split, step in (("train", 1), ("valid", 2), ("test", 3)):
        lines = [f"{a}\tknows\t{b}\n" for a, b in zip(people, people[step:] + people[:step], strict=True)]
        (folder / f"{split}.txt").write_text("".join(lines))
    return {"path": str(folder)}


def edge_list() -> dict[str, Any]:
    path = FILES / "edges.txt"
    path.write_text("# from to weight\na b 1\nb c 2.5\nc a 1\nc d 1\nd d 1\nd e 1\n")
    return {"path": str(path), "weighted": True}


def triples() -> View:
    from crl_graph.sources.family_tree import FamilyTree

    return FamilyTree().items("train").__getitems__(list(range(8)))


def with_family(**options: Any) -> Callable[[], dict[str, Any]]:
    """A sampler's options, with a source among them."""

    def made() -> dict[str, Any]:
        from crl_graph.sources.family_tree import FamilyTree

        return {"source": FamilyTree(), **options}

    return made


def with_karate() -> dict[str, Any]:
    from crl_graph.sources.networkx import NetworkX

    return {"source": NetworkX(), "length": 10, "window": 3}


def numbers() -> View:
    """Names of rows in a table of 24."""
    return View(torch.arange(8) * 3, {"instance": torch.arange(8)})


def heads_and_relations(*shape: int) -> Callable[[], dict[str, torch.Tensor]]:
    return lambda: {"head": torch.randn(8, 6), "relation": torch.randn(8, *shape)}


KNOWLEDGE_OPTIONS: dict[str, Any] = {
    "graph/all-tails": with_family(),
    "graph/corruption": with_family(negatives=3),
    "graph/edge-list": edge_list,
    "graph/kinships": lambda: triple_files("kinships"),
    "graph/matrices": {"count": 24, "size": 6},
    "graph/nations": lambda: triple_files("nations"),
    "graph/table": {"count": 24, "size": 6, "unit": "kept"},
    "graph/triples": lambda: triple_files("triples"),
    "graph/umls": lambda: triple_files("umls"),
    "graph/walks": with_karate,
}
KNOWLEDGE_EXAMPLES: dict[str, Callable[[], Any]] = {
    "graph/all-tails": triples,
    "graph/corruption": triples,
    "graph/diagonal": heads_and_relations(6),
    "graph/matrices": numbers,
    "graph/matrix-product": heads_and_relations(6, 6),
    "graph/table": numbers,
    "graph/translation": heads_and_relations(6),
    "graph/walks": numbers,
}
KNOWLEDGE_FAILURES = {
    ("graph/self-adversarial", "gradient_is_right"): "the weights of its negatives are meant to have no gradient",
}

test_conformance = conformance(
    "crl-graph",
    options={**KNOWLEDGE_OPTIONS},
    examples={**KNOWLEDGE_EXAMPLES},
    expected_failures={**KNOWLEDGE_FAILURES},
)
