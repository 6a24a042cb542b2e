"""Representations of nodes and graphs: what the recipes compute, against other ways to compute it."""

from __future__ import annotations

import math
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from crl_graph.adjacency import Adjacency
from crl_graph.encoders.gcn import GCN
from crl_graph.encoders.gin import GIN
from crl_graph.encoders.positional import eigenvectors
from crl_graph.evaluators.graph_classification import GraphClassification, cross_validated
from crl_graph.evaluators.node_classification import NodeClassification
from crl_graph.evaluators.weisfeiler_lehman import WeisfeilerLehman, subtree_counts
from crl_graph.heads.readout import Readout
from crl_graph.items import Graphs, Nodes, checked
from crl_graph.recipes.dgi import dgi
from crl_graph.recipes.gcc import gcc
from crl_graph.recipes.grace import grace
from crl_graph.recipes.graph_cl import graph_cl
from crl_graph.recipes.info_graph import info_graph
from crl_graph.recipes.mvgrl import mvgrl
from crl_graph.recipes.mvgrl_graphs import mvgrl_graphs
from crl_graph.samplers.diffusion import Diffusion
from crl_graph.samplers.dropped import Dropped
from crl_graph.samplers.feature_shuffle import FeatureShuffle
from crl_graph.samplers.neighbours import Neighbours, sampled
from crl_graph.samplers.subgraphs import Subgraphs, induced, walked
from crl_graph.samplers.unchanged import Unchanged
from crl_graph.sources.communities import Communities
from crl_graph.sources.families import Families
from crl_graph.sources.pyg import PyG
from crl_graph.sources.roles import Roles
from crl_graph.sources.seeds import Seeds
from crl_graph.sparse import Kept, table
from torch import Tensor
from torch_geometric.data import Data

import crl_core as crl
from crl_core import CrlError, Embeddings, View


def small() -> Communities:
    return Communities(nodes=90, groups=3, words=30)


def every(source: Any, split: str = "train") -> View:
    items = source.items(split)
    return items.__getitems__(list(range(len(items))))


def dense(graph: Data) -> Tensor:
    """D^-½ (A + I) D^-½ in float64, written out."""
    a = torch.zeros(graph.num_nodes, graph.num_nodes, dtype=torch.float64)
    a[graph.edge_index[1], graph.edge_index[0]] = 1.0
    a = torch.maximum(a, torch.eye(len(a), dtype=torch.float64))
    d = a.sum(1).rsqrt()
    return d[:, None] * a * d


# -- DGI -----------------------------------------------------------------------------------------------------


def test_dgi_is_pygs_loss() -> None:
    models = pytest.importorskip("torch_geometric.nn.models")
    batch = every(small())
    pipeline = crl.recipe(dgi, source=small(), size=16).pipeline.build(batch).double().train()
    losses = pipeline.loss(batch)
    rows = losses.embeddings["nodes"]
    corrupted = rows.meta["corrupted"] == 1
    peer = models.DeepGraphInfomax(16, torch.nn.Identity(), lambda z: z, lambda x: x).double()
    with torch.no_grad():
        peer.weight.copy_(pipeline.contrasts[0].score.weight.T)  # ours is query · W · key
    summary = losses.embeddings["summary"].z[0]
    expected = peer.loss(rows.z[~corrupted], rows.z[corrupted], summary)
    torch.testing.assert_close(losses.total, expected, rtol=1e-10, atol=1e-10)


def test_the_shuffled_pass_is_the_encoder_on_shuffled_features() -> None:
    batch = FeatureShuffle()(every(small()))["graph"]
    graph = batch.data
    for depth in (1, 2):
        encoder = GCN(8, depth, normalise=True)
        encoder(graph)
        encoder = encoder.double()
        both = encoder(graph)
        rows = both.z.view(-1, 2, 8)
        for place, x in ((0, graph.x), (1, graph.x[graph.shuffle])):
            alone = encoder(Data(x=x, edge_index=graph.edge_index)).z
            torch.testing.assert_close(rows[:, place], alone, rtol=1e-12, atol=1e-12)
        assert both.meta["corrupted"].tolist() == [0, 1] * graph.num_nodes
    assert not torch.equal(rows[:, 0], rows[:, 1])


def test_a_graph_convolution_is_the_dense_one() -> None:
    graph = every(small()).data
    encoder = GCN(8, normalise=True)
    encoder(graph)
    encoder = encoder.double()
    with torch.no_grad():
        encoder.biases[0].normal_()
    x = graph.x.double() / graph.x.double().sum(1, keepdim=True)
    expected = F.prelu(dense(graph) @ x @ encoder.weights[0] + encoder.biases[0], encoder.slopes[0].weight)
    torch.testing.assert_close(encoder(graph).z, expected, rtol=1e-7, atol=1e-7)  # weights of edges are float32


def test_gradients_flow_through_sparse_products() -> None:
    graph = every(small()).data
    encoder = GCN(4, normalise=True)
    encoder(graph)
    encoder = encoder.double()
    weight = encoder.weights[0]
    direction = torch.randn_like(weight)
    encoder(graph).z.square().sum().backward()
    step = 1e-6
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            weight.add_(direction, alpha=sign * step)
            values.append(encoder(graph).z.square().sum())
            weight.sub_(direction, alpha=sign * step)
    slope = (values[0] - values[1]) / (2 * step)
    torch.testing.assert_close((weight.grad * direction).sum(), slope, rtol=1e-6, atol=1e-8)


def test_the_summary_is_a_sigmoid_after_the_mean_and_has_a_gradient() -> None:
    h = torch.randn(6, 4, requires_grad=True)
    features = {"nodes": h, "segment": torch.tensor([0, 0, 0, 0, 1, 1]), "graph": torch.tensor([3, 7])}
    found = Readout("mean", sigmoid=True)(features)
    expected = torch.stack([h[:4].mean(0).sigmoid(), h[4:].mean(0).sigmoid()])
    torch.testing.assert_close(found.z, expected)
    assert not torch.allclose(found.z, torch.stack([h[:4].sigmoid().mean(0), h[4:].sigmoid().mean(0)]))
    found.z.sum().backward()
    assert h.grad is not None
    assert bool(h.grad.any())
    batch = every(small())
    pipeline = crl.recipe(dgi, source=small(), size=8).pipeline.build(batch).train()
    losses = pipeline.loss(batch)
    assert losses.embeddings["summary"].z.requires_grad


def test_features_sum_to_one_for_each_node() -> None:
    few = torch.zeros(5, 40)
    few[0, :2], few[1, 7], few[3, 3] = 1.0, 5.0, -2.0
    for x in (few, torch.rand(5, 4)):
        made: Any = table(x, normalise=True)
        numbers = made if isinstance(made, Tensor) else made @ torch.eye(x.shape[1])
        sums = numbers.abs().sum(1)
        torch.testing.assert_close(sums, (x.abs().sum(1) > 0).float())
    assert not isinstance(table(few, normalise=True), Tensor), "mostly zeros are a sparse table"


def test_what_is_kept_is_made_anew_for_other_tensors_and_for_changed_ones() -> None:
    kept, made = Kept(), []
    one, other = torch.zeros(2), torch.zeros(2)
    for each in (one, one, other, one):
        kept(made.append, each)
    assert len(made) == 3
    one.add_(1)
    kept(made.append, one)
    assert len(made) == 4
    for text in ("2708", "2708"):  # two numbers that are equal, and not one object
        kept(lambda x, nodes: made.append(nodes), one, int(text))
    assert len(made) == 5


def test_dgi_tells_communities_apart_better_than_the_untrained_encoder() -> None:
    made = crl.recipe(dgi, size=256, epochs=100)
    fitted = crl.fit(made.pipeline, made.source, made.training, accelerator="cpu", show=False)
    figures = crl.evaluate(fitted.pipeline, made.source).figures["accuracy"]["test"]
    assert figures["trained"] > figures["untrained"] + 0.1, figures
    assert figures["trained"] > 0.7, "chance is .17"


def planetoid(raw: Path, tmp_path: Path) -> PyG:
    shutil.copytree(raw, tmp_path / "Cora" / "raw")  # PyG writes next to them
    return PyG("Planetoid", "Cora", root=str(tmp_path))


@pytest.mark.slow
def test_dgi_on_cora(tmp_path: Path, cora: Path) -> None:
    source = planetoid(cora, tmp_path)
    assert [len(source.items(split)) for split in source.splits] == [2708, 500, 1000]
    assert int((every(source).meta["label"] >= 0).sum()) == 140
    made = crl.recipe(dgi, source=source)
    fitted = crl.fit(made.pipeline, source, made.training, accelerator="cpu", show=False)
    figures = crl.evaluate(fitted.pipeline, source).figures["accuracy"]["test"]
    assert figures["untrained"] < 0.72
    assert figures["trained"] > 0.80, figures


# -- InfoGraph -----------------------------------------------------------------------------------------------


def test_info_graph_is_the_sources_estimate_written_densely() -> None:
    source = Families(count=3)
    batch = every(source)
    pipeline = crl.recipe(info_graph, source=source, size=8, depth=2).pipeline.build(batch).double().train()
    losses = pipeline.loss(batch)
    nodes, graphs = losses.embeddings["nodes"], losses.embeddings["summary"]
    scores = nodes.z @ graphs.z.T
    own = F.one_hot(batch.data.batch, len(graphs)).double()
    n, m = scores.shape
    positive = ((math.log(2) - F.softplus(-scores)) * own).sum() / n
    negative = ((F.softplus(-scores) + scores - math.log(2)) * (1 - own)).sum() / (n * (m - 1))
    torch.testing.assert_close(losses.total - 2 * math.log(2), negative - positive, rtol=1e-10, atol=1e-10)


def test_layers_stand_side_by_side_and_are_summed_over_nodes() -> None:
    batch = every(Families(count=2))
    encoder = GIN(size=8, depth=3).eval()
    found = encoder(batch.data)
    assert found.z.shape == (10, 24)
    for graph in range(3):
        mine = batch.data.batch == graph
        torch.testing.assert_close(found.z[graph], found.features["nodes"][mine].sum(0), rtol=1e-4, atol=1e-4)


def test_a_graph_is_the_same_alone_and_in_a_batch_and_whatever_its_nodes_order() -> None:
    items = Families(count=2).items("train")
    whole = items.__getitems__(list(range(10)))
    encoder = GIN(size=8).eval()
    rows = encoder(whole.data).z
    torch.testing.assert_close(encoder(items.__getitems__([4]).data).z, rows[4:5], rtol=1e-4, atol=1e-4)
    one = items.__getitems__([4]).data
    order = torch.randperm(one.num_nodes)
    turned = Data(x=one.x[order], edge_index=order.argsort()[one.edge_index], number=one.number)
    torch.testing.assert_close(encoder(turned).z, rows[4:5], rtol=1e-4, atol=1e-4)


def test_graphs_are_gathered_as_they_were_given() -> None:
    given = [
        Data(x=torch.randn(n, 3), edge_index=torch.randint(0, n, (2, 2 * n)))
        for n in (4, 1, 7, 3)
    ]  # fmt: skip
    batch = Graphs(given, torch.arange(4)).__getitems__([2, 0, 2])
    assert batch.data.num_graphs == 3
    assert batch.data.batch.bincount().tolist() == [7, 4, 7]
    for place, graph in enumerate((given[2], given[0], given[2])):
        mine = batch.data.batch == place
        assert torch.equal(batch.data.x[mine], graph.x)
        edges = batch.data.edge_index[:, mine[batch.data.edge_index[0]]] - batch.data.ptr[place]
        assert set(map(tuple, edges.T.tolist())) == set(map(tuple, graph.edge_index.T.tolist()))


# -- MVGRL ---------------------------------------------------------------------------------------------------


def test_page_rank_is_the_exact_inverse() -> None:
    batch = every(small())
    graph = Diffusion("ppr", alpha=0.2, top=90, threshold=0.0).clean(batch).data
    n = graph.num_nodes
    found = torch.zeros(n, n, dtype=torch.float64)
    found[graph.diffusion_index[1], graph.diffusion_index[0]] = graph.diffusion_weight.double()
    exact = 0.2 * torch.linalg.inv(torch.eye(n, dtype=torch.float64) - 0.8 * dense(graph))
    torch.testing.assert_close(found, exact, rtol=0, atol=3e-6)


def test_heat_is_the_matrix_exponential() -> None:
    batch = every(small())
    graph = Diffusion("heat", time=3.0, top=90, threshold=0.0).clean(batch).data
    n = graph.num_nodes
    found = torch.zeros(n, n, dtype=torch.float64)
    found[graph.diffusion_index[1], graph.diffusion_index[0]] = graph.diffusion_weight.double()
    exact = torch.matrix_exp(3.0 * (dense(graph) - torch.eye(n, dtype=torch.float64)))
    torch.testing.assert_close(found, exact, rtol=0, atol=3e-6)


def test_diffusion_keeps_the_largest_and_stays_inside_each_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = every(Families(count=2))
    whole = Diffusion(top=5).clean(batch).data
    segment = batch.data.batch
    assert torch.equal(segment[whole.diffusion_index[0]], segment[whole.diffusion_index[1]])
    assert int(whole.diffusion_index[1].bincount().max()) == 5
    alone = Diffusion(top=5).clean(Families(count=2).items("train").__getitems__([3])).data
    mine = segment[whole.diffusion_index[0]] == 3
    torch.testing.assert_close(
        whole.diffusion_weight[mine].sort().values, alone.diffusion_weight.sort().values, rtol=1e-4, atol=1e-5
    )
    # Blocks of columns change nothing.
    monkeypatch.setattr("crl_graph.samplers.diffusion._COLUMNS", 7 * batch.data.num_nodes)
    again = Diffusion(top=5).clean(batch).data
    torch.testing.assert_close(
        again.diffusion_weight.sort().values, whole.diffusion_weight.sort().values, rtol=1e-5, atol=1e-6
    )


def test_mvgrl_contrasts_each_structure_with_the_other() -> None:
    batch = every(small())
    pipeline = crl.recipe(mvgrl, source=small(), size=8).pipeline.build(batch).double().train()
    losses = pipeline.loss(batch)
    table, score = losses.embeddings, pipeline.contrasts[0].score
    assert pipeline.contrasts[1].score is score
    expected = torch.zeros((), dtype=torch.float64)
    for summary, nodes in (("adjacency summary", "diffusion"), ("diffusion summary", "adjacency")):
        rows = table[nodes].z.view(-1, 2, 8)
        s = score(table[summary].z, table[nodes].z).view(-1, 2)
        expected = expected + F.softplus(-s[:, 0]).mean() + F.softplus(s[:, 1]).mean()
        torch.testing.assert_close(table[f"{nodes} summary"].z[0], rows[:, 0].mean(0).sigmoid(), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(losses.total, expected, rtol=1e-10, atol=1e-10)
    both = pipeline.encode(batch)
    parts = pipeline.branches["both"].encoder
    clean = pipeline.sampler.clean(batch).data
    assert both.shape == (90, 8)
    one = parts.adjacency(clean).z
    assert not torch.allclose(both, one)


def test_mvgrl_on_graphs_pairs_nodes_with_their_own_graph() -> None:
    source = Families(count=2)
    batch = every(source)
    pipeline = crl.recipe(mvgrl_graphs, source=source, size=8, depth=2).pipeline.build(batch).double().train()
    losses = pipeline.loss(batch)
    own = F.one_hot(batch.data.batch, 10).bool()
    expected = torch.zeros((), dtype=torch.float64)
    for nodes, graphs in (("adjacency nodes", "diffusion"), ("diffusion nodes", "adjacency")):
        s = losses.embeddings[nodes].z @ losses.embeddings[graphs].z.T
        expected = expected + F.softplus(-s[own]).mean() + F.softplus(s[~own]).mean()
    torch.testing.assert_close(losses.total, expected, rtol=1e-10, atol=1e-10)


# -- GCC -----------------------------------------------------------------------------------------------------


def test_walks_with_restart_go_along_edges_and_restart_without_a_step() -> None:
    edges = torch.tensor([[0, 1, 2, 3, 4], [1, 2, 3, 4, 0]])
    graph = Adjacency.of(edges, nodes=6)
    seed = torch.tensor([0, 5] * 500)
    draw = torch.rand(2, 40, 1000)
    met = walked(graph, seed, draw, restart=0.3)
    assert bool((met[0] == seed).all())
    assert bool((met[:, 1::2] == 5).all()), "a node without an edge has nowhere to go"
    # One step after the other, as it is defined.
    ring = met[:, ::2]
    for step in range(40):
        at = torch.where((draw[0, step, ::2] < 0.3) | (step == 0), 0, ring[step])
        assert bool((((ring[step + 1] - at) % 5 == 1) | ((ring[step + 1] - at) % 5 == 4)).all()), "every step moves"
    bare = Adjacency.of(torch.empty(2, 0, dtype=torch.int64), nodes=6)
    assert bool((walked(bare, seed, draw, restart=0.3) == seed).all())


def test_a_walk_of_many_restarts_still_meets_all_neighbours() -> None:
    """Were a restart a step, 64 steps would lead to 13 nodes, and two views of a node had little in common."""
    batch = every(Communities(nodes=600))
    seed = torch.arange(600)
    graph = Adjacency.of(batch.data.edge_index, 600)
    met = walked(graph, seed, torch.rand(2, 64, 600), 0.8)
    moved = (met[1:] != seed).float().mean()
    assert float(moved) > 0.9
    near = graph.have(seed.expand_as(met), met)
    found = torch.tensor([len(column[there].unique()) for column, there in zip(met.T, near.T, strict=True)])
    assert float((found / graph.degree.clamp(min=1)).mean()) > 0.97


def test_a_subgraph_is_all_edges_among_what_was_met() -> None:
    batch = every(small())
    views = Subgraphs(steps=20, restart=0.5)(batch)
    assert set(views) == {"a", "b"}
    whole = set(map(tuple, batch.data.edge_index.T.tolist()))
    graph = Adjacency.of(batch.data.edge_index, 90)
    met = walked(graph, torch.arange(90), torch.rand(2, 20, 90), 0.5)
    made = induced(graph, met, torch.arange(90))
    for number in (0, 17, 89):
        mine = met[:, number].unique()
        edges = made.edge_index[:, made.batch[made.edge_index[0]] == number] - made.ptr[number]
        expected = {(a, b) for a in mine.tolist() for b in mine.tolist() if (a, b) in whole}
        assert {(int(mine[a]), int(mine[b])) for a, b in edges.T.tolist()} == expected
        ego = made.ego[made.batch == number]
        assert mine[ego].tolist() == [number]


def test_positions_are_the_smoothest_eigenvectors_of_each_graphs_laplacian() -> None:
    batch = every(Families(count=3)).data
    found = eigenvectors(batch.edge_index, batch.batch, batch.ptr, 32)
    assert found.shape == (batch.num_nodes, 32)
    for number in (0, 4, 11):
        mine = batch.batch == number
        n = int(mine.sum())
        index = batch.edge_index[:, mine[batch.edge_index[0]]] - batch.ptr[number]
        a = torch.zeros(n, n, dtype=torch.float64)
        a[index[0], index[1]] = 1.0
        d = a.sum(1).clamp(min=1).rsqrt()
        laplacian = torch.eye(n, dtype=torch.float64) - d[:, None] * a * d
        values, vectors = torch.linalg.eigh(laplacian)
        kept = F.normalize(vectors[:, : n - 2], dim=1)
        rows = found[mine].double()[:, : n - 2]
        simple = (
            torch.cat([torch.tensor([1.0]), values.diff()]).minimum(torch.cat([values.diff(), torch.tensor([1.0])]))[
                : n - 2
            ]
            > 1e-3
        )  # where there is one such vector only, but for its sign
        assert int(simple.sum()) > n // 2
        torch.testing.assert_close(rows[:, simple].abs(), kept[:, simple].abs()[:, :32], rtol=1e-4, atol=1e-4)
        assert not bool(found[mine][:, n - 2 :].any())


def test_seeds_are_drawn_by_degree() -> None:
    source = Communities(nodes=300, groups=3, words=30)
    items = Seeds(source).items("train")
    degree = torch.bincount(items.nodes.graph.edge_index[1], minlength=300).double()
    epochs = [items.batches(50, torch.Generator().manual_seed(seed)) for seed in range(60)]
    drawn = torch.tensor(epochs).flatten()
    share = torch.bincount(drawn, minlength=300).double() / len(drawn)
    chance = degree.pow(0.75) * (degree > 0)
    assert float((share - chance / chance.sum()).abs().max()) < 0.002


def test_the_key_encoder_moves_without_a_gradient() -> None:
    made = crl.recipe(gcc, source=small(), size=8, depth=2)
    items = made.source.items("train")
    batch = items.__getitems__(list(range(32)))
    pipeline = made.pipeline.build(batch).train()
    pipeline.loss(items.__getitems__(list(range(32, 64))))  # which leaves its keys, to be told from
    pipeline.on_step()
    key, query = pipeline.branches["key"].copies["encoder"], pipeline.branches["query"].encoder
    before = [weight.clone() for weight in key.parameters()]
    optimiser = torch.optim.SGD([p for p in pipeline.parameters() if p.requires_grad], lr=0.1)
    losses = pipeline.loss(batch)
    assert not losses.embeddings["key"].z.requires_grad
    losses.total.backward()
    optimiser.step()
    pipeline.on_step()
    assert all(weight.grad is None for weight in key.parameters())
    for old, new, theirs in zip(before, key.parameters(), query.parameters(), strict=True):
        torch.testing.assert_close(new, 0.99 * old + 0.01 * theirs)
    assert any(not torch.equal(a, b) for a, b in zip(before, key.parameters(), strict=True))
    assert pipeline.contrasts[0].memories[0].keys() is not None


def test_both_forms_of_gcc_are_info_nce() -> None:
    """Without a queue the batch's other nodes are negatives, and keys have a gradient; with one, its keys alone."""
    source = small()
    batch = source.items("train").__getitems__(list(range(0, 90, 3)))
    e2e = crl.recipe(gcc, source=source, form="e2e", size=8, depth=2).pipeline.build(batch).double().train()
    losses = e2e.loss(batch)
    query, key = (F.normalize(losses.embeddings[name].z, dim=1) for name in ("query", "key"))
    assert key.requires_grad
    torch.testing.assert_close(losses.total, F.cross_entropy(query @ key.T / 0.07, torch.arange(30)))
    moco = crl.recipe(gcc, source=source, size=8, depth=2).pipeline.build(batch).double().train()
    held = F.normalize(moco.loss(batch).embeddings["key"].z, dim=1)  # of other nodes than the next batch's
    moco.on_step()
    later = source.items("train").__getitems__(list(range(1, 90, 3)))
    losses = moco.loss(later)
    query, key = (F.normalize(losses.embeddings[name].z, dim=1) for name in ("query", "key"))
    scores = torch.cat([(query * key).sum(1, keepdim=True), query @ held.T], 1) / 0.07
    torch.testing.assert_close(losses.total, F.cross_entropy(scores, torch.zeros(30, dtype=torch.int64)))
    with pytest.raises(CrlError, match="moco"):
        crl.recipe(gcc, source=source, form="simclr")


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["roles", "roles-e2e"])
def test_gcc_tells_parts_in_shapes_apart_better_than_the_untrained_encoder(preset: str) -> None:
    torch.manual_seed(0)
    made = crl.recipe(gcc, preset=preset)
    fitted = crl.fit(made.pipeline, made.source, made.training, accelerator="cpu", show=False)
    blind = math.log(1 + (700 if preset == "roles" else 127))
    losses = [line["loss"] for line in fitted.metrics if "loss" in line]
    assert losses[-1] < blind - 1.5, "a guess among all keys"
    figures = crl.evaluate(fitted.pipeline, made.source).figures["accuracy"]["test"]
    assert figures["trained"] > figures["untrained"] + 0.2, figures
    assert figures["trained"] > 0.6, "the most frequent part is .14 of all"


def test_roles_are_parts_in_shapes_that_lie_anywhere() -> None:
    source = Roles(copies=16, noise=0.0)
    batch = every(source)
    assert batch.data.num_nodes == 16 * 5 * 7
    label = source.items("test").label
    degree = batch.data.edge_index[1].bincount()
    # Of a star's middle, which hangs on the ring too, and of its ends; of both kinds of nodes on the ring.
    for part, edges in ((6, 5), (7, 1), (13, 2), (14, 3)):
        assert degree[label == part].unique().tolist() == [edges]
    assert [int((batch.meta["label"] == part).sum()) for part in range(15)] == [10] * 15
    apart = [set(source.items(split).chosen.tolist()) for split in ("val", "test")]
    assert not apart[0] & apart[1]
    assert len(apart[0] | apart[1]) == 560 - 150


# -- parts of large graphs -----------------------------------------------------------------------------------


def test_neighbours_are_drawn_without_replacement_as_many_as_there_are() -> None:
    graph = every(small()).data
    towards = Adjacency.of(graph.edge_index.flip(0), 90, directed=True)
    seed = torch.tensor([3, 40, 41])
    node, edges = sampled(towards, seed, (2, 3))
    pairs = list(map(tuple, node[edges].T.tolist()))
    assert len(set(pairs)) == len(pairs)
    assert set(pairs) <= set(map(tuple, graph.edge_index.T.tolist()))
    degree = torch.bincount(graph.edge_index[1], minlength=90)
    drawn = torch.bincount(node[edges[1]], minlength=90)
    assert drawn[seed].tolist() == degree[seed].clamp(max=2).tolist()
    first = {a for a, b in pairs if b in seed.tolist()} - set(seed.tolist())
    assert all(int(drawn[n]) == min(3, int(degree[n])) for n in first)
    assert set(node.tolist()) == set(seed.tolist()) | {a for a, _ in pairs}


def test_with_all_neighbours_a_part_gives_the_rows_of_the_whole() -> None:
    items = small().items("train")
    some = items.__getitems__([5, 60, 7])
    encoder = GCN(8)
    whole = encoder(items.__getitems__(list(range(90))).data).z
    drawn = Neighbours(Unchanged(), counts=(90, 90))(some)["graph"]  # of neighbours, degrees are needed too
    found = encoder(drawn.data)
    torch.testing.assert_close(found.z, whole[[5, 60, 7]])
    assert found.meta["node"].tolist() == [5, 60, 7]


def test_dgi_learns_from_parts() -> None:
    source = Seeds(small(), power=0.0)
    recipe = crl.recipe(dgi, source=source, size=8)
    pipeline = recipe.pipeline.replace("sampler", Neighbours(FeatureShuffle(), (5,)))
    items = source.items("train")
    losses = pipeline.build(items.__getitems__([1, 2, 3])).train().loss(items.__getitems__(list(range(0, 90, 5))))
    assert len(losses.embeddings["nodes"]) == 2 * 18
    assert bool(losses.total.isfinite())


# -- views with something missing ----------------------------------------------------------------------------


def test_edges_nodes_and_features_are_dropped_at_their_rates() -> None:
    batch = every(Communities(nodes=3_000))
    edges = batch.data.edge_index
    pairs = {tuple(sorted(pair)) for pair in edges.T.tolist()}
    views = Dropped(edges=0.2, features=0.3, other_edges=0.4, other_features=0.0)(batch)
    for name, edge_rate, feature_rate in (("a", 0.2, 0.3), ("b", 0.4, 0.0)):
        graph = views[name].data
        left = {tuple(sorted(pair)) for pair in graph.edge_index.T.tolist()}
        assert left <= pairs
        assert graph.edge_index.shape[1] == 2 * len(left), "both directions together"
        assert abs(1 - len(left) / len(pairs) - edge_rate) < 0.03
        gone = ((graph.x == 0).all(0) & (batch.data.x != 0).any(0)).float().mean()
        assert abs(float(gone) - feature_rate) < 0.1
    many = every(Families(count=40))
    graph = Dropped(edges=0.0, nodes=0.3)(many)["a"].data
    stays = graph.x.any(1)
    assert abs(float(stays.float().mean()) - 0.7) < 0.04
    assert bool(stays[graph.edge_index].all()), "no edge leads to a node that is gone"
    most = Dropped(edges=0.0, nodes=0.99)(many)["a"].data
    assert torch.unique(many.data.batch[most.x.any(1)]).numel() == 200, "every graph keeps a node"


def test_grace_is_its_two_directions() -> None:
    batch = every(small())
    pipeline = crl.recipe(grace, source=small(), size=8).pipeline.build(batch).double().train()
    losses = pipeline.loss(batch)
    one, other = (F.normalize(losses.embeddings[name].z, dim=1) for name in ("one", "other"))
    z = torch.cat([one, other])
    scores = (z @ z.T / 0.4).masked_fill(torch.eye(len(z), dtype=torch.bool), -math.inf)
    twin = torch.arange(len(z)).roll(len(one))
    torch.testing.assert_close(losses.total, F.cross_entropy(scores, twin), rtol=1e-8, atol=1e-8)


def test_graph_cl_leaves_the_positive_out_of_its_denominator() -> None:
    source = Families(count=2)
    batch = every(source)
    pipeline = crl.recipe(graph_cl, source=source, size=8).pipeline.build(batch).double().train()
    losses = pipeline.loss(batch)
    one, other = (F.normalize(losses.embeddings[name].z, dim=1) for name in ("query", "key"))
    s = (one @ other.T / 0.2).exp()
    expected = -(s.diagonal() / (s.sum(1) - s.diagonal())).log().mean()
    torch.testing.assert_close(losses.total, expected, rtol=1e-8, atol=1e-8)


# -- graphs as they come -------------------------------------------------------------------------------------


def odd() -> Data:
    """A loop at 0, an edge twice, and node 3 without any."""
    return Data(x=torch.rand(4, 5), edge_index=torch.tensor([[0, 0, 1, 0, 1], [0, 1, 0, 1, 2]]))


def test_isolated_nodes_loops_and_duplicate_edges_are_taken_for_what_they_are() -> None:
    graph = checked(odd())
    assert graph.edge_index.shape[1] == 4
    encoder = GCN(4)
    encoder(graph)
    assert bool(encoder(graph).z.isfinite().all())
    alone = F.prelu(graph.x[3] @ encoder.weights[0], encoder.slopes[0].weight)
    torch.testing.assert_close(encoder(graph).z[3], alone)
    batch = View(graph, {"instance": torch.arange(4), "node": torch.arange(4)})
    for sampler in (FeatureShuffle(), Diffusion(), Dropped(nodes=0.5)):
        for view in sampler(batch).values():
            assert bool(encoder(view.data).z.isfinite().all())


def test_what_is_wrong_with_a_graph_is_said() -> None:
    bare = Data(edge_index=torch.tensor([[0], [1]]), num_nodes=2)
    with pytest.raises(CrlError, match='features="degree"'):
        checked(bare)
    with pytest.raises(CrlError, match="no nodes"):
        checked(Data(x=torch.zeros(0, 3), edge_index=torch.zeros(2, 0, dtype=torch.int64)))
    with pytest.raises(CrlError, match="the nodes are 0 to 1"):
        checked(Data(x=torch.zeros(2, 3), edge_index=torch.tensor([[0], [5]])))
    broken = Data(x=torch.tensor([[0.0], [math.nan]]), edge_index=torch.tensor([[0], [1]]))
    with pytest.raises(CrlError, match=r"NaN or infinite: \[1\]"):
        checked(broken)
    with pytest.raises(CrlError, match=r"int64 \[2, E\], not torch.float32"):
        checked(Data(x=torch.zeros(2, 3), edge_index=torch.tensor([[0.0], [1.0]])))
    with pytest.raises(CrlError, match="graph 0 has 5 and graph 2 has 4"):
        Graphs([odd(), odd(), Data(x=torch.rand(2, 4), edge_index=torch.tensor([[0], [1]]))], torch.arange(3))
    with pytest.raises(CrlError, match="no graphs"):
        Graphs([], torch.empty(0, dtype=torch.int64))
    with pytest.raises(CrlError, match="no nodes"):
        Nodes(odd(), torch.empty(0, dtype=torch.int64), torch.zeros(4))
    with pytest.raises(CrlError, match="Planetoid"):
        PyG("Planetoids").items("train")


@pytest.mark.parametrize("recipe", [dgi, mvgrl])
def test_features_that_are_all_the_same_can_not_be_shuffled(recipe: Any) -> None:
    made = crl.recipe(recipe, source=small(), size=8).pipeline.build(every(small())).train()
    for nodes in (1, 90):
        graph = checked(Data(x=torch.ones(nodes, 30), edge_index=torch.zeros(2, 1, dtype=torch.int64)))
        batch = Nodes(graph, torch.arange(nodes), torch.zeros(nodes)).__getitems__(list(range(nodes)))
        with pytest.raises(CrlError, match='features="degree"'):
            made.loss(batch)


def test_a_graph_without_nodes_is_left_out_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    empty = Data(x=torch.zeros(0, 5), edge_index=torch.zeros(2, 0, dtype=torch.int64))
    graphs = Graphs([odd(), empty, odd()], torch.tensor([0, 1, 2]))
    assert len(graphs) == 2
    assert graphs.label.tolist() == [0, 2]
    assert re.search(r"\b1 of 3 graphs\b", caplog.text)


def test_one_graph_in_the_batch_has_nothing_to_be_told_from() -> None:
    source = Families(count=2)
    one = source.items("train").__getitems__([0])
    pipeline = crl.recipe(info_graph, source=source, size=8).pipeline.build(every(source)).train()
    with pytest.raises(CrlError, match=r"\bnegative\b"):
        pipeline.loss(one)


def test_a_data_set_without_splits_and_one_without_features() -> None:
    karate = PyG("KarateClub", None)
    assert next(len(karate.items(split)) for split in karate.splits) == 34
    known = every(karate).meta["label"] >= 0
    tested = set(every(karate, "test").meta["node"].tolist()) | set(every(karate, "val").meta["node"].tolist())
    assert not tested & set(known.nonzero().flatten().tolist()), "no test node has a label in training"


# -- what representations are worth --------------------------------------------------------------------------


def test_regressions_side_by_side_are_regressions_one_by_one() -> None:
    label = torch.arange(60) % 3
    z = torch.eye(3, 8)[label] + 0.7 * torch.randn(60, 8)
    train = Embeddings(z[:30], {"label": label[:30]})
    test = Embeddings(z[30:], {"label": label[30:]})
    evaluator = NodeClassification(runs=4)
    start = evaluator._start(train.z, 3)[0].detach()
    found = []
    for run in range(4):
        weight, bias = start[run].clone().requires_grad_(), torch.zeros(3, requires_grad=True)
        optimiser = torch.optim.Adam([weight, bias], lr=0.01)
        for _ in range(100):
            loss = F.cross_entropy(train.z @ weight + bias, train.meta["label"])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        found.append(float(((test.z @ weight + bias).argmax(1) == test.meta["label"]).float().mean()))
    figures = evaluator(train, test, None)
    assert figures["accuracy"] == pytest.approx(sum(found) / 4, abs=1e-6)


def test_weisfeiler_lehman_counts_subtrees() -> None:
    # A triangle and a path of three nodes differ after one step; two triangles do not.
    x = torch.ones(9, 1)
    triangle = [(0, 1), (1, 2), (2, 0)]
    pairs = triangle + [(3, 4), (4, 5)] + [(a + 6, b + 6) for a, b in triangle]
    edges = torch.tensor(pairs + [(b, a) for a, b in pairs]).T
    counts = subtree_counts(x, edges, torch.arange(9) // 3, 3, iterations=2)
    assert torch.equal(counts[0], counts[2])
    assert not torch.equal(counts[0], counts[1])
    assert counts.sum(1).tolist() == [9.0, 9.0, 9.0]


def test_folds_need_enough_graphs_of_every_label() -> None:
    with pytest.raises(CrlError, match="10 graphs with each"):
        cross_validated(torch.randn(15, 3).numpy(), (torch.arange(15) > 11).numpy(), folds=10, seed=0)


@pytest.mark.slow
def test_info_graph_on_mutag(tmp_path: Path, mutag: Path) -> None:
    shutil.copytree(mutag, tmp_path / "MUTAG" / "raw")
    source = PyG("TUDataset", "MUTAG", root=str(tmp_path))
    batch = every(source)
    assert len(batch) == 188
    assert batch.meta["label"].bincount().tolist() == [63, 125]
    made = crl.recipe(info_graph, source=source)
    fitted = crl.fit(made.pipeline, source, made.training, accelerator="cpu", show=False)
    chosen = [GraphClassification(), WeisfeilerLehman()]
    figures = crl.evaluate(fitted.pipeline, source, evaluators=chosen).figures
    assert figures["accuracy"]["folds"]["trained"] > 0.82, "most graphs have the same label: .66"
    assert figures["weisfeiler_lehman"]["folds"]["trained"] > 0.80


# -- rows ----------------------------------------------------------------------------------------------------


def test_rows_of_many_graphs_are_graphs() -> None:
    items = Families(count=3).items("train")
    batch = items.__getitems__(list(range(len(items))))
    chosen = torch.tensor([7, 2, 2, 11])
    taken, wanted = batch.take(chosen), items.__getitems__(chosen.tolist())
    assert len(taken) == taken.data.row_count() == 4
    for name in ("x", "edge_index", "batch", "ptr", "number"):
        assert torch.equal(taken.data[name], wanted.data[name]), name
    halves = crl.View.join([batch.take(slice(0, 6)), batch.take(slice(6, None))])
    for name in ("x", "edge_index", "batch", "ptr", "number"):
        assert torch.equal(halves.data[name], batch.data[name]), name


def test_what_hangs_on_nodes_and_edges_goes_along() -> None:
    """Shuffled places are moved with their graph, a diffusion's weights stay at its edges."""
    batch = Diffusion(top=5, shuffle=True)(every(Families(count=3)))["graph"]
    whole = torch.arange(len(batch))
    for part in (batch.take(whole.flip(0)), crl.View.join([batch.take(whole[5:]), batch.take(whole[:5])])):
        graph = part.data
        assert torch.equal(graph.batch[graph.shuffle], graph.batch)
        assert torch.equal(graph.batch[graph.diffusion_index[0]], graph.batch[graph.diffusion_index[1]])
        order = part.meta["instance"].argsort()
        again = part.take(order).data
        for name in ("x", "edge_index", "shuffle", "diffusion_weight", "diffusion_index"):
            one, other = (
                x[:, x[1].argsort(stable=True)] if name.endswith("index") else x
                for x in (again[name], batch.data[name])
            )
            assert torch.equal(one, other), name


def test_rows_of_one_graph_are_the_nodes_that_are_asked() -> None:
    batch = every(small())
    encoder = GCN(6)
    whole = encoder(batch.data).z
    chosen = torch.tensor([8, 3, 3, 50])
    taken = batch.take(chosen)
    assert len(taken) == taken.data.row_count() == 4
    torch.testing.assert_close(encoder(taken.data).z, whole[chosen])
    torch.testing.assert_close(encoder(taken.take(torch.tensor([1, 3])).data).z, whole[[3, 50]])
    both = crl.View.join([taken, batch.take(slice(0, 2))])
    assert both.data.x is batch.data.x, "one graph stays one"
    torch.testing.assert_close(encoder(both.data).z, whole[[8, 3, 3, 50, 0, 1]])
    damaged = Dropped(edges=0.4)(batch)
    apart = crl.View.join([damaged["a"].take(chosen), damaged["b"].take(chosen)])
    wanted = torch.cat([encoder(damaged[name].data).z[chosen] for name in ("a", "b")])
    found = encoder(apart.data)
    torch.testing.assert_close(found.z, wanted)
    assert torch.equal(found.meta["node"], torch.cat([chosen, chosen]))


def test_graphs_are_encoded_in_chunks() -> None:
    batch = every(Families(count=3))
    pipeline = crl.recipe(info_graph, source=Families(count=3), size=8, depth=2).pipeline.build(batch).eval()
    whole = pipeline.encode(batch)
    parts = torch.cat([pipeline.encode(batch.take(slice(start, start + 4))) for start in range(0, len(batch), 4)])
    torch.testing.assert_close(parts, whole)
