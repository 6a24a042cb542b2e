"""Every part of crl-graph by every check of its kind."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch_geometric.datasets
from torch_geometric.data import Data

from crl_core import View, conformance

FILES = Path(tempfile.mkdtemp(prefix="crl-graph-"))

# -- knowledge graphs and walks ------------------------------------------------------------------------------


def triple_files(name: str) -> dict[str, Any]:
    folder = FILES / name
    folder.mkdir(parents=True, exist_ok=True)
    people = [f"{letter}{number}" for letter in "abc" for number in range(4)]
    for split, step in (("train", 1), ("valid", 2), ("test", 3)):
        lines = [f"{a}\tknows\t{b}\n" for a, b in zip(people, people[step:] + people[:step], strict=True)]
        (folder / f"{split}.txt").write_text("".join(lines))
    return {"path": str(folder)}


def edge_list() -> dict[str, Any]:
    path = FILES / "edges.txt"
    path.write_text("# from to weight\na b 1\nb c 2.5\nc a 1\nc d 1\nd d 1\nd e 1\n")
    return {"path": str(path), "weighted": True}


def family() -> Any:
    from crl_graph.sources.family_tree import FamilyTree

    return FamilyTree()


def karate() -> Any:
    from crl_graph.sources.networkx import NetworkX

    return NetworkX()


def numbers() -> View:
    """Names of rows in a table of 24."""
    return View(torch.arange(8) * 3, {"instance": torch.arange(8)})


def heads_and_relations(*shape: int) -> Callable[[], dict[str, torch.Tensor]]:
    return lambda: {"head": torch.randn(8, 6), "relation": torch.randn(8, *shape)}


class Tiny:
    """In place of PyG's data sets, which would be downloaded."""

    def __init__(self, root: str, split: str = "train") -> None:
        number = torch.arange(12)
        self.data = Data(edge_index=torch.stack([number, number.roll(-1)]), edge_type=number % 3)

    def __getitem__(self, index: int) -> Data:
        return self.data


@pytest.fixture(autouse=True)
def _nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_geometric.datasets, "FB15k_237", Tiny)
    triple_files("pykeen/datasets/umls")
    (FILES / "pykeen" / "__init__.py").touch()
    monkeypatch.syspath_prepend(FILES)


def with_nodes() -> dict[str, Any]:
    from crl_graph.sources.communities import Communities

    return {"source": Communities(nodes=200, groups=3)}


KNOWLEDGE_OPTIONS: dict[str, Any] = {
    "graph/corruption": {"negatives": 3},
    "graph/edge-list": edge_list,
    "graph/matrices": {"count": 24, "size": 6},
    "graph/numbers-of-nodes": with_nodes,
    "graph/table": {"count": 24, "size": 6, "normalise": "always"},
    "graph/triples": lambda: triple_files("triples"),
    "graph/walks": {"length": 10, "window": 3},
}
KNOWLEDGE_EXAMPLES: dict[str, Callable[[], Any]] = {
    "graph/all-tails": family,
    "graph/corruption": family,
    "graph/diagonal": heads_and_relations(6),
    "graph/matrices": numbers,
    "graph/matrix-product": heads_and_relations(6, 6),
    "graph/table": numbers,
    "graph/translation": heads_and_relations(6),
    "graph/walks": karate,
}
KNOWLEDGE_FAILURES = {
    ("graph/self-adversarial", "gradient_is_right"): "the weights of its negatives are meant to have no gradient",
}

# -- representations of nodes and graphs, and worlds of objects ----------------------------------------------


def nodes() -> Any:
    from crl_graph.sources.communities import Communities

    return Communities(nodes=120, groups=3, words=30).items("train")


def graphs() -> Any:
    from crl_graph.sources.families import Families

    return Families(count=4).items("train")


def diffused() -> Any:
    """Items whose graphs have both sets of edges."""
    from crl_graph.samplers.diffusion import Diffusion

    items, clean = nodes(), Diffusion(top=8).clean

    class Diffused:
        def __len__(self) -> int:
            return len(items)

        def __getitems__(self, indices: list[int]) -> View:
            return clean(items.__getitems__(indices))

    return Diffused()


def subgraphs() -> Any:
    """Items whose graphs are walks' around each node."""
    from crl_graph.samplers.subgraphs import Subgraphs

    items, clean = nodes(), Subgraphs(steps=16).clean

    class Walked:
        def __len__(self) -> int:
            return len(items)

        def __getitems__(self, indices: list[int]) -> View:
            return clean(items.__getitems__(indices))

    return Walked()


def around_communities() -> dict[str, Any]:
    from crl_graph.sources.communities import Communities

    return {"source": Communities(nodes=120, groups=3, words=30)}


def with_gin() -> dict[str, Any]:
    from crl_graph.encoders.gin import GIN

    encoder = GIN(8, 2, readout="mean")
    encoder.ensure_built(torch.empty(1, 32 + 16 + 1))  # all instances share it, so that none makes its weights
    return {"encoder": encoder, "size": 8}


def of_shuffled() -> dict[str, Any]:
    from crl_graph.samplers.feature_shuffle import FeatureShuffle

    return {"sampler": FeatureShuffle(), "counts": (3,)}


def steps() -> Any:
    from crl_graph.sources.blocks import Blocks

    return Blocks(episodes=2, steps=8).items("train")


def pictures() -> View:
    """Without the black of a real one, where nothing is smooth at the start."""
    return View(torch.rand(8, 3, 50, 50), {"instance": torch.arange(8)})


def with_feed_forward() -> dict[str, Any]:
    from crl_graph.heads.feed_forward import FeedForward

    return {"head": FeedForward(6)}


def two_encoders() -> dict[str, Any]:
    from crl_graph.encoders.gcn import GCN

    return {"adjacency": GCN(8), "diffusion": GCN(8, edges="as-given")}


def node_features() -> dict[str, torch.Tensor]:
    each = torch.arange(8)
    return {"nodes": torch.randn(8, 6), "segment": each, "graph": each, "node": each}


def of_a_step() -> dict[str, torch.Tensor]:
    each = torch.arange(8)
    return {"state": torch.randn(8, 10), "next": torch.randn(8, 10), "action": each * 2, "other": each.flip(0)}


REPRESENTATION_OPTIONS: dict[str, Any] = {
    "graph/nodes": with_feed_forward,
    "graph/blocks": {"episodes": 3, "steps": 8, "test_episodes": 4},
    "graph/neighbours": of_shuffled,
    "graph/objects": {"hidden": 32},
    "graph/positional": with_gin,
    "graph/seeds": around_communities,
    "graph/transition": {"hidden": 16},
    "graph/two-structures": two_encoders,
}
REPRESENTATION_EXAMPLES: dict[str, Callable[[], Any]] = {
    "graph/diffusion": graphs,
    "graph/dropped": graphs,
    "graph/feature-shuffle": nodes,
    "graph/gcn": nodes,
    "graph/gin": graphs,
    "graph/neighbours": nodes,
    "graph/next-and-other": of_a_step,
    "graph/nodes": node_features,
    "graph/objects": pictures,
    "graph/positional": subgraphs,
    "graph/readout": node_features,
    "graph/subgraphs": nodes,
    "graph/transition": of_a_step,
    "graph/transitions": steps,
    "graph/two-structures": diffused,
    "graph/unchanged": graphs,
}

REPRESENTATION_FAILURES = {
    **{
        (part, "compiles_without_breaks"): "torch.compile can't follow the graph, or the table of rows that it returns"
        for part in ("graph/gcn", "graph/gin", "graph/positional", "graph/two-structures")
    },
    **{
        (part, "rows_depend_on_nothing_else"): "the random numbers of a batch are drawn for all its graphs at once"
        for part in ("graph/dropped", "graph/neighbours")
    },
    **{
        (part, "rows_are_drawn_by_themselves"): "a row is a graph, or a node of the one graph that all rows share"
        for part in ("graph/feature-shuffle", "graph/neighbours")
    },
    ("graph/two-structures", "gradient_is_right"): "the weights of edges are constants, and have no gradient",
}

test_conformance = conformance(
    "crl-graph",
    options={**KNOWLEDGE_OPTIONS, **REPRESENTATION_OPTIONS},
    examples={**KNOWLEDGE_EXAMPLES, **REPRESENTATION_EXAMPLES},
    expected_failures={**KNOWLEDGE_FAILURES, **REPRESENTATION_FAILURES},
)
