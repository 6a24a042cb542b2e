"""What parts learn of the data set: it is the run's, and a run is opened without it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from crl_graph.encoders.matrices import Matrices
from crl_graph.network import Network
from crl_graph.recipes.dist_mult import dist_mult
from crl_graph.recipes.lre import lre
from crl_graph.recipes.node2vec import node2vec
from crl_graph.recipes.rescal import rescal
from crl_graph.recipes.trans_e import trans_e
from crl_graph.samplers.all_tails import AllTails
from crl_graph.samplers.corruption import Corruption
from crl_graph.samplers.feature_shuffle import FeatureShuffle
from crl_graph.samplers.neighbours import Neighbours
from crl_graph.samplers.walks import Walks
from crl_graph.sources.family_tree import FamilyTree
from crl_graph.sources.networkx import NetworkX

import crl_core as crl
from crl_core import CrlError, Progress, Table

RECIPES = [trans_e, lre, rescal, dist_mult, node2vec]


def everything(source: Any) -> crl.View:
    items = source.items(source.splits[0])
    return items.__getitems__(list(range(len(items))))


def meet(part: Any, source: Any) -> Any:
    part.on_source(source.items(source.splits[0]), source)
    return part


def on_step(part: Any) -> None:
    part.on_step(Progress(1, 2, 0, 1))


# -- the whole way -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_run_is_opened_without_its_data(recipe: Any, tmp_path: Path) -> None:
    made = crl.recipe(recipe)
    pipeline, batch = made.pipeline.build(everything(made.source), made.source), everything(made.source)
    again = crl.assemble(crl.describe(pipeline))
    assert "source" not in str(crl.plain(crl.describe(pipeline)))
    again.load_state_dict(pipeline.state_dict())
    crl.save(pipeline, tmp_path / "exported")
    for opened in (again, crl.load(tmp_path / "exported")):
        for branch in pipeline.branches:
            assert torch.equal(opened.encode(batch, branch), pipeline.encode(batch, branch)), branch
        with pytest.raises(CrlError, match=r"pipeline.build\(batch, source\), or fit"):
            opened.loss(batch)


@pytest.mark.parametrize("recipe", RECIPES)
def test_before_they_met_their_source_parts_say_what_to_do(recipe: Any) -> None:
    made = crl.recipe(recipe)
    with pytest.raises(CrlError, match=r"pipeline.build\(batch, source\), or fit"):
        made.pipeline.loss(everything(made.source))
    with pytest.raises(CrlError, match=r"pipeline.build\(batch, source\), or fit"):
        made.pipeline.encode(everything(made.source))


def test_another_seed_of_the_source_is_what_a_run_knows(tmp_path: Path) -> None:
    """`crl train trans-e`, and the spec of its run with another seed: the sampler takes that one's triples for true."""
    from crl_core.cli import main

    first, second = tmp_path / "a", tmp_path / "b"
    few = ["--set", "epochs=2"]
    assert not main(["train", "trans-e", *few, "--out", str(first)])
    assert not main(["train", str(first / "spec.toml"), "--set", "source.seed=3", "--out", str(second)])
    spec = tomllib.loads((second / "spec.toml").read_text())
    assert spec["source"]["seed"] == 3
    assert str(spec).count("family-tree") == 1, "the source stands there once"
    seen: list[Any] = []
    told = Corruption.on_source

    def listens(self: Corruption, items: Any, source: Any) -> None:
        told(self, items, source)
        seen.append((source.seed, self._facts))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Corruption, "on_source", listens)
        third = tmp_path / "c"
        assert not main(["train", str(first / "spec.toml"), "--set", "source.seed=3", "--out", str(third)])
    assert {seed for seed, _ in seen} == {3}
    h, r, t = FamilyTree(seed=3).items("test").data.T
    for _, facts in seen:
        assert not facts.have(h, r, t).any()
        assert facts.have(*FamilyTree(seed=3).items("train").data.T).all()


# -- samplers ------------------------------------------------------------------------------------------------


def test_corruption_knows_the_triples_of_the_source_that_it_met_last() -> None:
    sampler = Corruption(negatives=50)
    for seed in (0, 3):
        tree = FamilyTree(seed=seed)
        views = meet(sampler, tree)(everything(tree))
        head, tail, valid = views["head"].data, views["tail"].data, views["tail"].meta["valid"]
        known = {tuple(row) for row in tree.items("train").data.tolist()}
        relation = views["relation"].data.unsqueeze(1).expand_as(head)
        rows = torch.stack([head, relation, tail], -1)[:, 1:][valid[:, 1:]]
        assert not known & {tuple(row) for row in rows.tolist()}


def test_all_tails_knows_the_triples_of_its_source() -> None:
    tree = FamilyTree(seed=3)
    tail = meet(AllTails(), tree)(everything(tree))["tail"]
    assert tail.data.shape == (100, 24)
    facts = {tuple(row) for row in tree.items("train").data.tolist()}
    left_out = (~tail.meta["valid"]).nonzero().tolist()
    triples = everything(tree).data.tolist()
    assert left_out
    assert all((triples[row][0], triples[row][1], entity) in facts for row, entity in left_out)


def test_clean_views_of_triples_are_by_name() -> None:
    batch = everything(FamilyTree())
    for sampler in (Corruption(), AllTails()):
        views = sampler.clean(batch)
        assert [view.data.tolist() for view in views.values()] == batch.data.T.tolist()
    made = crl.recipe(trans_e, size=4)
    pipeline = made.pipeline.build(batch, made.source)
    entity, relation = (pipeline.branches["query"].encoder[name].weight for name in ("head", "relation"))
    head, which, tail = batch.data.T
    torch.testing.assert_close(pipeline.encode(batch, "query"), (entity[head] + relation[which]).detach())
    torch.testing.assert_close(pipeline.encode(batch, "tail"), entity[tail].detach())


def test_walks_go_along_the_edges_of_the_source_and_count_its_noise() -> None:
    sampler = Walks(length=10, window=1)
    for name in ("karate", "florentine"):
        source = NetworkX(name)  # type: ignore[arg-type]
        views = meet(sampler, source)(everything(source))
        assert source.adjacency.have(views["centre"].data, views["context"].data[:, 0]).all()
        assert int(views["context"].data.max()) < len(source.adjacency)
        assert len(sampler._height) == len(source.adjacency)  # type: ignore[arg-type]


def test_a_sampler_in_another_meets_the_source_too() -> None:
    met: list[Any] = []

    class Listens(FeatureShuffle):
        def on_source(self, items: Any, source: Any) -> None:
            met.append(source)

    source = NetworkX()
    meet(Neighbours(Listens()), source)
    assert met == [source]


# -- tables --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda: Table("entities", 3), lambda: Matrices("entities", 2)])
def test_a_table_is_as_long_as_the_source_counts(make: Any) -> None:
    table, tree = make(), FamilyTree()
    assert not table.state_dict()
    with pytest.raises(CrlError, match=r"\bentities\b"):
        table(torch.tensor([0]))
    torch.manual_seed(5)
    meet(table, tree)
    assert len(table.weight) == 24
    before = table.weight.detach().clone()
    meet(table, tree)
    assert torch.equal(table.weight, before), "what is known already is not made anew"
    torch.manual_seed(5)
    assert torch.equal(meet(make(), tree).weight, before)
    with pytest.raises(CrlError, match=r"\bNetworkX\b.*\bnodes\b"):
        meet(make(), NetworkX())


@pytest.mark.parametrize("make", [lambda: Table("nodes", 3), lambda: Matrices("nodes", 2)])
def test_a_loaded_table_and_another_source(make: Any) -> None:
    table = meet(make(), NetworkX("karate"))
    loaded = make()
    loaded.load_state_dict(table.state_dict())
    assert torch.equal(loaded.weight, table.weight)
    assert loaded.weight.requires_grad
    meet(loaded, NetworkX("karate"))
    assert torch.equal(loaded.weight, table.weight)
    with pytest.raises(CrlError, match=r"\b34 nodes\b.*\bNetworkX\b.*\b15\b"):
        meet(loaded, NetworkX("florentine"))
    with pytest.raises(CrlError, match=r"\b15 nodes\b.*\bstate\b.*\b34\b"):
        meet(make(), NetworkX("florentine")).load_state_dict(table.state_dict())


def test_a_table_of_its_own_type() -> None:
    table = Table("nodes", 3).double()
    assert meet(table, NetworkX()).weight.dtype == torch.float64


@pytest.mark.parametrize("make", [lambda **o: Table(50, 4, **o), lambda **o: Matrices(50, 2, **o)])
def test_sparse_gradients_are_the_dense_ones(make: Any) -> None:
    sparse, dense = make(sparse=True), make()
    dense.load_state_dict(sparse.state_dict())
    which = torch.tensor([[3, 7], [7, 49]])
    for table in (sparse, dense):
        (table(which) ** 2).sum().backward()
    assert sparse.weight.grad.is_sparse
    assert sparse.weight.grad._nnz() <= 4
    torch.testing.assert_close(sparse.weight.grad.to_dense(), dense.weight.grad)


def test_after_a_step_the_rows_of_the_batch_have_length_one_and_no_others_are_touched() -> None:
    table = Table(50, 4, normalise="always", sparse=True).train()
    optimiser = torch.optim.SparseAdam(list(table.parameters()), 0.1)
    torch.testing.assert_close(table.weight.norm(dim=1), torch.ones(50))
    for rows in ([3, 7], [7, 9]):
        optimiser.zero_grad()
        before = table.weight.detach().clone()
        table(torch.tensor(rows)).square().sum(1).dot(torch.arange(2) + 1.0).backward()
        optimiser.step()
        assert not torch.allclose(table.weight.norm(dim=1), torch.ones(50)), "the step itself leaves it"
        on_step(table)
        torch.testing.assert_close(table.weight.norm(dim=1), torch.ones(50))
        others = torch.ones(50, dtype=torch.bool).index_fill(0, torch.tensor(rows), False)
        assert torch.equal(table.weight[others], before[others])
    table(torch.tensor([1]))
    table.abandon()
    with torch.no_grad():
        table.weight[1] *= 2
    on_step(table)
    assert table.weight[1].norm() > 1.5, "nothing is noted of a step that was given up"


def test_dense_and_sparse_steps_keep_all_on_the_sphere_alike() -> None:
    tables = [Table(20, 4, normalise="always", sparse=sparse).train() for sparse in (True, False)]
    tables[1].load_state_dict(tables[0].state_dict())
    for which in torch.randint(20, (5, 6)):
        for table in tables:
            optimiser = torch.optim.SGD(table.parameters(), 0.3)
            (table(which) * torch.arange(4)).sum().backward()
            optimiser.step()
            optimiser.zero_grad()
            on_step(table)
    torch.testing.assert_close(tables[0].weight, tables[1].weight)


def test_a_step_with_sparse_gradients_touches_the_rows_of_the_batch_alone() -> None:
    """Whatever is as long as the table would be made here: the memory that a step asks for doesn't grow with it."""
    from torch.profiler import ProfilerActivity, profile

    asked = []
    for rows in (1_000, 100_000):
        table = Table(rows, 8, normalise="always", sparse=True).train()
        optimiser = torch.optim.SGD(table.parameters(), 0.1)
        which = torch.arange(64) * 7
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
            table(which).sum().backward()
            optimiser.step()
            optimiser.zero_grad()
            on_step(table)
        asked.append(max(event.cpu_memory_usage for event in seen.events()))
    assert asked[1] <= 2 * asked[0]


def test_old_words_are_understood() -> None:
    old: dict[str, Any] = {"use": "graph/table", "count": 24, "size": 4, "spread": 0.5, "unit": "kept"}
    with pytest.warns(DeprecationWarning, match="bound"):
        table = crl.part_from("encoder", old, "encoder")
    assert (table.normalise, table.bound) == ("always", 0.5)
    old = {"use": "graph/corruption", "negatives": 2, "source": {"use": "graph/family-tree", "seed": 0}}
    with pytest.warns(DeprecationWarning, match="graph/corruption"):
        sampler = crl.part_from("sampler", old, "sampler")
    assert sampler.negatives == 2


def test_networks_and_knowledge_graphs_count() -> None:
    assert dict(FamilyTree().counts) == {"entities": 24, "relations": 12}
    assert dict(NetworkX().counts) == {"nodes": 34}
    assert isinstance(NetworkX(), Network)
