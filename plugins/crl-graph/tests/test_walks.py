"""Graphs for walks, the chances of every step, pairs and noise, and what node2vec makes of them."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from crl_graph.adjacency import Adjacency
from crl_graph.evaluators.communities import Communities, clustered, modularity
from crl_graph.network import Network
from crl_graph.recipes.node2vec import node2vec
from crl_graph.samplers.walks import Walks, window_pairs
from crl_graph.sources import communities as generated
from crl_graph.sources.edge_list import EdgeList
from crl_graph.sources.family_tree import FamilyTree
from crl_graph.sources.networkx import NetworkX
from crl_graph.sources.numbers_of_nodes import NumbersOfNodes
from crl_graph.walk import walk
from scipy import stats
from torch import Tensor

import crl_core as crl
from crl_core import CrlError
from crl_core.testing.trees import tensors_in

# A triangle with a tail, a square beside it, a loop at 3, an edge that stands there twice and a node alone.
EDGES = torch.tensor([[0, 1], [1, 2], [2, 0], [2, 3], [3, 3], [3, 4], [4, 5], [5, 6], [6, 3], [0, 1], [4, 6]]).T
WEIGHT = torch.tensor([1.0, 2.0, 0.5, 1.0, 0.7, 3.0, 1.0, 2.0, 0.3, 1.5, 1.0])
NODES = 8


def walks_on(source: Network, **options: Any) -> Walks:
    """A sampler that knows its source."""
    sampler = Walks(**options)
    sampler.on_source(source.items("train"), source)
    return sampler


def exact(graph: nx.Graph, before: int, now: int, p: float, q: float) -> dict[int, float]:
    """The law of the next step as the paper writes it, from networkx's own graph."""
    chance = {}
    for after in graph[now]:
        bias = 1 / p if after == before else 1.0 if graph.has_edge(before, after) else 1 / q
        chance[after] = bias * graph[now][after]["weight"]
    total = sum(chance.values())
    return {after: value / total for after, value in chance.items()}


def as_networkx(weighted: bool, directed: bool = False) -> nx.Graph:
    graph: nx.Graph = nx.DiGraph() if directed else nx.Graph()
    graph.add_nodes_from(range(NODES))
    for (u, v), w in zip(EDGES.T.tolist(), WEIGHT.tolist(), strict=True):
        if weighted and graph.has_edge(u, v):
            graph[u][v]["weight"] += w
        else:
            graph.add_edge(u, v, weight=w if weighted else 1.0)
    return graph


def same_law(paths: Tensor, graph: nx.Graph, p: float, q: float) -> float:
    """The smallest p-value of χ² over all pairs of a node and the one before, times their number."""
    values = []
    for before, now in {(int(a), int(b)) for a, b in paths[:, -3:-1].tolist() if b >= 0}:
        here = paths[(paths[:, -3] == before) & (paths[:, -2] == now), -1]
        law = exact(graph, before, now, p, q)
        assert set(here.tolist()) <= set(law), "only along edges"
        if len(law) > 1 and len(here) * min(law.values()) > 5:
            seen = [int((here == after).sum()) for after in law]
            values.append(stats.chisquare(seen, [len(here) * share for share in law.values()]).pvalue)
    assert len(values) > 8, "the test sees the graph"
    return min(values) * len(values)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("p", "q"), [(1.0, 1.0), (0.25, 4.0), (4.0, 0.25), (0.25, 0.25), (4.0, 4.0), (1.0, 0.5)])
def test_steps_have_the_exact_second_order_law(p: float, q: float, weighted: bool) -> None:
    graph = Adjacency.of(EDGES, NODES, WEIGHT if weighted else None)
    paths = walk(graph, torch.arange(7).repeat(20_000), 5, p, q)
    assert same_law(paths, as_networkx(weighted), p, q) > 0.01


@pytest.mark.parametrize(("p", "q"), [(4.0, 0.25), (1.0, 0.25), (0.25, 1.0)])
def test_another_law_is_caught(p: float, q: float) -> None:
    """p and q exchanged, and a walk without a memory, are told from the law that was asked for."""
    graph = Adjacency.of(EDGES, NODES)
    for wrong in ((q, p), (1.0, 1.0)):
        paths = walk(graph, torch.arange(7).repeat(20_000), 5, *wrong)
        assert same_law(paths, as_networkx(False), p, q) < 1e-6


def test_directed_walks_end_where_no_edge_leads_on() -> None:
    edges = torch.tensor([[0, 1, 1, 2], [1, 2, 3, 0]])
    graph = Adjacency.of(edges, 5, directed=True)
    paths = walk(graph, torch.arange(5).repeat(2_000), 12, 0.5, 2.0)
    assert (paths[:, 0] == torch.arange(5).repeat(2_000)).all()
    for one, other in zip(paths.T[:-1], paths.T[1:], strict=True):
        assert ((other >= 0) == ((one >= 0) & (one != 3) & (one != 4))).all(), "3 leads nowhere, 4 has no edge"
        both = other >= 0
        assert graph.have(one[both], other[both]).all()


def test_an_adjacency_holds_what_the_edges_say() -> None:
    for weighted in (False, True):
        graph, theirs = Adjacency.of(EDGES, NODES, WEIGHT if weighted else None), as_networkx(weighted)
        one, other = (x.flatten() for x in torch.meshgrid(torch.arange(NODES), torch.arange(NODES), indexing="ij"))
        wanted = torch.from_numpy(nx.to_numpy_array(theirs)).flatten()
        torch.testing.assert_close(graph.weight(one, other), wanted)
        assert torch.equal(graph.have(one, other), wanted > 0)
        torch.testing.assert_close(graph.strength(torch.arange(NODES)), wanted.view(NODES, NODES).sum(1))
        assert torch.equal(graph.degree, (wanted.view(NODES, NODES) > 0).sum(1))


def test_memory_is_in_proportion_to_the_edges() -> None:
    edges = torch.randint(100_000, (2, 300_000))
    graph = Adjacency.of(edges, 100_000)
    held = sum(part.numel() for part in (graph.start, graph.neighbour, graph.number))
    assert held <= 100_001 + 2 * 2 * 300_000


@pytest.mark.parametrize(
    ("edges", "weight", "said"),
    [([[0], [9]], None, "lead from 0 to 9"), ([[0], [-1]], None, "lead from -1"), ([[0], [1]], [0.0], "above 0"),
     ([[0], [1]], [float("nan")], "above 0")],
)  # fmt: skip
def test_edges_that_are_none(edges: list[list[int]], weight: list[float] | None, said: str) -> None:
    with pytest.raises(CrlError, match=said):
        Adjacency.of(torch.tensor(edges), 3, None if weight is None else torch.tensor(weight))


# -- pairs and noise -----------------------------------------------------------------------------------------


def test_pairs_are_those_of_the_window() -> None:
    walks = torch.tensor([[5, 6, 7, 8, -1], [1, 1, 2, -1, -1]])
    seen = set()
    for _ in range(200):
        row, centre, context = window_pairs(walks, 2)
        seen |= set(zip(row.tolist(), centre.tolist(), context.tolist(), strict=True))
    places = [(r, i, j) for r, n in ((0, 4), (1, 3)) for i in range(n) for j in range(n) if 0 < abs(i - j) <= 2]
    assert seen == {(r, int(walks[r, i]), int(walks[r, j])) for r, i, j in places}


def test_near_nodes_count_more_as_in_word2vec() -> None:
    """A context at distance d is there in (window - d + 1) of `window` cases."""
    walks = torch.arange(21).repeat(4_000, 1)
    _, centre, context = window_pairs(walks, 5)
    distance = (centre - context).abs()[(centre >= 5) & (centre < 16)]
    share = torch.bincount(distance, minlength=6)[1:] / (4_000 * 11 * 2)
    torch.testing.assert_close(share, torch.tensor([1.0, 0.8, 0.6, 0.4, 0.2]), rtol=0.02, atol=0.01)


def test_noise_is_drawn_by_the_three_quarter_power_of_the_count() -> None:
    batch = NetworkX().items("train").__getitems__(list(range(34)))
    sampler = walks_on(NetworkX(), length=40)
    views = sampler(batch)
    noise = views["context"].data[:, 1:]
    count = torch.zeros(34)
    for _ in range(40):
        walks = walk(NetworkX().adjacency, torch.arange(34), 40)
        count += torch.bincount(walks.flatten(), minlength=34)
    found, wanted = torch.bincount(noise.flatten(), minlength=34) / noise.numel(), count**0.75
    assert float((found - wanted / wanted.sum()).abs().sum()) < 0.1
    assert float((found - count / count.sum()).abs().sum()) > 0.15, "by the count itself it would be another"


def test_noise_that_is_the_context_is_no_candidate() -> None:
    source = NetworkX("florentine")
    views = walks_on(source, length=10, window=2)(source.items("train").__getitems__(list(range(14))))
    keys = views["context"]
    same = keys.data[:, 1:] == keys.data[:, :1]
    assert 0.02 < float(same.float().mean()) < 0.3, "it does happen"
    assert torch.equal(keys.meta["valid"][:, 1:], ~same)
    assert keys.meta["valid"][:, 0].all()


def test_rows_have_the_columns_of_the_item_that_began_the_walk() -> None:
    graph = Network(Adjacency.of(torch.tensor([[0, 2], [1, 3]]), 4), "abcd", torch.tensor([0, 0, 1, 1]))
    batch = crl.View(torch.tensor([2, 0]), {"instance": torch.tensor([2, 0]), "label": torch.tensor([1, 0])})
    views = walks_on(graph, length=6)(batch)
    for view in views.values():
        assert torch.equal(view.meta["label"], view.meta["instance"] // 2)
    assert torch.equal(views["centre"].data // 2, views["centre"].meta["label"]), "two parts: a walk stays in one"


def test_the_same_seed_walks_the_same_way() -> None:
    sampler = walks_on(NetworkX(), p=0.25, q=4)
    batch = NetworkX().items("train").__getitems__([0, 5, 9])
    found = []
    for fresh in (sampler, sampler, walks_on(NetworkX(), p=0.25, q=4)):
        torch.manual_seed(3)
        found.append(list(tensors_in(dict(fresh(batch)))))
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


def test_options_that_mean_nothing() -> None:
    for options, said in (({"length": 1}, "2 nodes"), ({"noise": 0}, "1 of window"), ({"q": 0.0}, "above 0")):
        with pytest.raises(CrlError, match=said):
            Walks(**options)  # type: ignore[arg-type]
    with pytest.raises(CrlError, match=r"\bFamilyTree\b.*\bnodes\b"):
        walks_on(FamilyTree())  # type: ignore[arg-type]


# -- sources -------------------------------------------------------------------------------------------------


def test_an_edge_list_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, labels = tmp_path / "edges.csv", tmp_path / "labels.txt"
    path.write_text("# a graph\nann,bob,2\n\nbob,ann,1\nbob,cid,0.5\ncid,cid,1\n")
    labels.write_text("ann red\ncid blue\n")
    source = EdgeList(str(path), weighted=True, labels=str(labels))
    assert source.names == ("ann", "bob", "cid")
    assert source.label is not None
    assert source.label.tolist() == [0, -1, 1]
    ann, bob, cid = torch.arange(3)
    assert source.adjacency.weight(ann, bob) == 3, "both directions are one edge"
    assert source.adjacency.weight(cid, cid) == 1, "a loop weighs what it weighs"
    with caplog.at_level(logging.WARNING, "crl"):
        one_way = EdgeList(str(path), directed=True)
    assert "0 of" not in caplog.text
    assert not one_way.adjacency.have(cid, bob)


@pytest.mark.parametrize(
    ("text", "said"),
    [("a\n", "line 1: expected 3 columns"), ("a b x\n", "line 1: the weight 'x'"), ("# none\n", "no edges"),
     ("a b -1\n", "above 0")],
)  # fmt: skip
def test_files_that_are_no_edge_lists(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "edges.txt"
    path.write_text(text)
    with pytest.raises(CrlError, match=said):
        EdgeList(str(path), weighted=True)
    with pytest.raises(CrlError, match="no file"):
        EdgeList(str(tmp_path / "nowhere"))


def test_labels_of_nodes_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "edges").write_text("a b\n")
    (tmp_path / "labels").write_text("zoe red\n")
    with pytest.raises(CrlError, match=r"\b1\b.*\bgraph\b.*\bnode 'zoe'"):
        EdgeList(str(tmp_path / "edges"), labels=str(tmp_path / "labels"))


@pytest.mark.parametrize(
    ("name", "nodes", "edges", "splits"),
    [("karate", 34, 78, ("train", "test")), ("les-miserables", 77, 254, ("train", "nodes")),
     ("florentine", 15, 20, ("train", "nodes")), ("davis", 32, 89, ("train", "test"))],
)  # fmt: skip
def test_small_graphs_of_networkx(name: str, nodes: int, edges: int, splits: tuple[str, ...]) -> None:
    source = NetworkX(name)  # type: ignore[arg-type]
    assert (len(source.names), len(source.adjacency.number) // 2, source.splits) == (nodes, edges, splits)


def test_labels_of_the_test_are_not_there_in_training() -> None:
    source = NetworkX()
    train, test = (source.items(split).__getitems__(list(range(len(source.items(split))))) for split in source.splits)
    assert len(test) == 6
    assert (test.meta["label"] >= 0).all()
    assert (train.meta["label"][test.data] == -1).all()
    assert (train.meta["label"] == -1).sum() == 6


def test_nodes_without_an_edge_begin_no_walk_and_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "crl"):
        source = Network(Adjacency.of(EDGES, NODES), "abcdefgh")
    assert re.search(r"\b1 of 8 nodes\b", caplog.text)
    items = source.items("train")
    batches = items.batches(3, torch.Generator().manual_seed(0))
    assert sorted(node for batch in batches for node in batch) == list(range(7))
    assert len(items) == 8, "they still have a vector"
    with pytest.raises(CrlError, match=r"\b1 nodes\b.*\bedge\b.*\[7\]"):
        walks_on(source)(items.__getitems__([7]))
    with pytest.raises(CrlError, match="no edges"):
        Network(Adjacency.of(EDGES[:, :0], 2), "ab")


def test_nodes_with_features_can_be_walked_too() -> None:
    source = generated.Communities(nodes=300, groups=3)
    recipe = crl.recipe(node2vec, source=source, size=4)
    assert isinstance(recipe.source, NumbersOfNodes)
    assert recipe.source.splits == source.splits
    for split in source.splits:
        theirs = source.items(split)
        ours = recipe.source.items(split).__getitems__(list(range(len(theirs))))
        assert torch.equal(ours.data, theirs.chosen)
        assert torch.equal(ours.meta["label"], theirs.label[theirs.chosen])
    graph = source.items("train").graph
    assert recipe.source.adjacency.have(*graph.edge_index).all()
    assert len(recipe.source.adjacency.number) == graph.edge_index.shape[1]
    with pytest.raises(CrlError, match=r"\bNetworkX\b.*\bnodes\b.*\bgraph\b"):
        NumbersOfNodes(NetworkX())


# -- node2vec ------------------------------------------------------------------------------------------------


def untrained(recipe: crl.Recipe) -> crl.Pipeline:
    return recipe.pipeline.build(recipe.source.items("train").__getitems__([0, 1]), recipe.source)


def fitted(recipe: crl.Recipe) -> crl.Pipeline:
    return crl.fit(recipe.pipeline, recipe.source, recipe.training, show=False).pipeline


def test_modularity_is_that_of_networkx() -> None:
    for weighted in (False, True):
        cluster = torch.tensor([0, 0, 1, 1, 2, 2, 1, 0])
        sets = [set((cluster == c).nonzero().flatten().tolist()) for c in range(3)]
        theirs = nx.community.modularity(as_networkx(weighted), sets)
        ours = modularity(Adjacency.of(EDGES, NODES, WEIGHT if weighted else None), cluster)
        assert ours == pytest.approx(theirs)


def test_the_karate_club_is_told_apart_by_vectors_alone() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    source = NetworkX()
    assert source.label is not None
    accuracies = []
    recipes = [crl.recipe(node2vec, source=source) for _ in range(2)]
    for pipeline in (untrained(recipes[0]), fitted(recipes[1])):
        z = pipeline.encode(source.items("train").__getitems__(list(range(34)))).numpy()
        folds = StratifiedKFold(5, shuffle=True, random_state=0)
        probe = LogisticRegression(max_iter=1_000)
        accuracies.append(np.mean(cross_val_score(probe, z, source.label.numpy(), cv=folds)))
    assert accuracies[0] < 0.8
    assert accuracies[1] >= 0.94


@pytest.mark.slow
def test_clusters_of_les_miserables_are_communities() -> None:
    source = NetworkX("les-miserables")
    pipelines = [untrained(crl.recipe(node2vec, source=source)), fitted(crl.recipe(node2vec, source=source))]
    before, after = (Communities()(pipeline, source, "nodes") for pipeline in pipelines)
    assert before["modularity"] < 0.15
    assert after["modularity"] > 0.5


def test_the_tightest_clusters_are_found() -> None:
    z = torch.eye(4).repeat(10, 1) + 0.05 * torch.randn(40, 4)
    cluster = clustered(z, 4)
    assert all(len(torch.unique(cluster[kind::4])) == 1 for kind in range(4))
    assert len(torch.unique(cluster)) == 4


def test_the_two_tables_are_two_and_both_learn() -> None:
    recipe = crl.recipe(node2vec, size=8)
    items = recipe.source.items("train")
    batch = items.__getitems__([0, 5, 20])
    pipeline = recipe.pipeline.build(batch, recipe.source).train()
    tables = [pipeline.branches[name].encoder.weight for name in ("centre", "context")]  # type: ignore[union-attr]
    assert not tables[1].any(), "contexts begin at 0"
    before = [table.detach().clone() for table in tables]
    optimiser = torch.optim.SGD(pipeline.parameters(), 1.0)
    for _ in range(2):
        pipeline.loss(batch).total.backward()
        optimiser.step()
        optimiser.zero_grad()
    assert all(not torch.equal(a, b) for a, b in zip(before, tables, strict=True))
