"""Knowledge graphs: sources, corruption, losses, and the rank of the true entity."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torch_geometric.datasets
from crl_graph.evaluators import filtered_ranking
from crl_graph.evaluators.filtered_ranking import FilteredRanking, filtered_ranks, ranks_among
from crl_graph.heads.relations import Diagonal, MatrixProduct, Translation
from crl_graph.knowledge import Facts, KnowledgeGraph
from crl_graph.losses.margin_ranking import MarginRanking
from crl_graph.losses.self_adversarial import SelfAdversarial
from crl_graph.recipes.dist_mult import dist_mult
from crl_graph.recipes.lre import lre
from crl_graph.recipes.rescal import rescal
from crl_graph.recipes.trans_e import trans_e
from crl_graph.samplers.all_tails import AllTails
from crl_graph.samplers.corruption import Corruption
from crl_graph.sources.family_tree import FamilyTree
from crl_graph.sources.networkx import NetworkX
from crl_graph.sources.pyg_triples import PyGTriples
from crl_graph.sources.triples import TripleFiles
from torch import Tensor
from torch_geometric.data import Data

import crl_core as crl
from crl_core import Candidates, CrlError, Scores, Table


def everything(source: KnowledgeGraph, split: str = "train") -> crl.View:
    items = source.items(split)
    return items.__getitems__(list(range(len(items))))


def met(part: Any, source: Any) -> Any:
    """The part, which knows its source."""
    part.on_source(source.items(source.splits[0]), source)
    return part


def built(recipe: crl.Recipe) -> crl.Pipeline:
    return recipe.pipeline.build(everything(recipe.source), recipe.source)


def all_true(source: KnowledgeGraph) -> set[tuple[int, ...]]:
    return {tuple(row) for split in source.splits for row in source.items(split).data.tolist()}


# -- sources -------------------------------------------------------------------------------------------------


def test_the_family_tree_is_hintons() -> None:
    tree = FamilyTree()
    facts = torch.cat([tree.items("train").data, tree.items("test").data])
    assert (len(facts), len(tree.entities), len(tree.relations)) == (112, 24, 12)
    assert len({(h, r) for h, r, _ in facts.tolist()}) == 104, "some have two uncles, aunts, nephews"
    named = {(tree.entities[h], tree.relations[r], tree.entities[t]) for h, r, t in facts.tolist()}
    assert {("Colin", "father", "James"), ("Colin", "uncle", "Arthur"), ("Colin", "uncle", "Charles")} <= named
    assert {("Margaret", "nephew", "Colin"), ("Sophia", "brother", "Alfonso"), ("Gina", "husband", "Emilio")} <= named
    count = Counter(relation for _, relation, _ in named)
    assert [count[name] for name in ("husband", "mother", "son", "sister", "uncle", "niece")] == [10, 12, 12, 6, 8, 8]


def test_the_two_families_are_one_tree() -> None:
    """Every person has a counterpart of the other family, with the same facts."""
    tree = FamilyTree()
    facts = torch.cat([tree.items("train").data, tree.items("test").data]).tolist()
    roles = {person: Counter(r for h, r, _ in facts if h == person) for person in range(24)}
    assert all(sum(role == other for other in roles.values()) % 2 == 0 for role in roles.values())


def test_another_seed_holds_out_others() -> None:
    held = [set(map(tuple, FamilyTree(seed=seed).items("test").data.tolist())) for seed in (0, 0, 1)]
    assert held[0] == held[1] != held[2]
    with pytest.raises(CrlError, match="1 to 100"):
        FamilyTree(held_out=112)


def write(folder: Path, **files: str) -> str:
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return str(folder)


def test_triples_are_read_from_files(tmp_path: Path) -> None:
    path = write(
        tmp_path, train_tsv='ann\tlikes\tbob\n"bob\tlikes\tann\nann\tlikes\tbob\n\n', test_csv="bob,likes,ann\n"
    )
    source = TripleFiles(path)
    assert source.splits == ("train", "test")
    assert source.entities == ("ann", "bob", '"bob'), "a quote is a character like any other between tabs"
    assert source.items("train").data.tolist() == [[0, 0, 1], [2, 0, 0]], "each once"
    assert source.items("test").data.tolist() == [[1, 0, 0]]
    with pytest.raises(CrlError, match=r"\bsplit 'tset'.*'test'"):
        source.items("tset")


def test_what_training_does_not_know_is_an_error_or_a_counted_skip(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, train_txt="a\tr\tb\nb\tr\tc\n", test_txt="a\tr\tc\na\tr\tzoe\na\ts\tb\n")
    with pytest.raises(CrlError, match=r"2 triples of .*test.txt .*as does 'a r zoe'.*unknown=\"skip\""):
        TripleFiles(path)
    with caplog.at_level(logging.WARNING, "crl"):
        source = TripleFiles(path, unknown="skip")
    assert source.items("test").data.tolist() == [[0, 0, 2]]
    assert "2 triples" in caplog.text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\tr\n", r"\bline 1\b.*\bhead, relation\b"),
        ("a\tr\tb\na r b\n", r"line 2: .*tabs"),
        ("a\t\tb\n", r"line 1"),
        ("", r"\bno triples\b"),
    ],
)
def test_files_that_hold_no_triples(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(CrlError, match=said):
        TripleFiles(write(tmp_path, train_tsv=text))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CrlError, match=r"has no train\.tsv"):
        TripleFiles(str(tmp_path))
    with pytest.raises(CrlError, match=r"\bnowhere\b"):
        TripleFiles(str(tmp_path / "nowhere"))
    (tmp_path / "train.tsv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CrlError, match="no text"):
        TripleFiles(str(tmp_path))


def graph_of(triples: list[list[int]], **more: Any) -> Data:
    h, r, t = torch.tensor(triples).T
    return Data(edge_index=torch.stack([h, t]), edge_type=r, **more)


def test_triples_of_pyg(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Three files in one case, masks of one graph in the other; what training doesn't know is counted."""
    parts = {"train": [[4, 0, 2], [2, 2, 7]], "val": [[7, 0, 4]], "test": [[4, 2, 7], [4, 1, 2], [5, 0, 2]]}
    rows = [row for part in parts.values() for row in part]
    places = torch.tensor([0, 0, 1, 2, 2, 2])
    masks = {f"{name}_mask": places == i for i, name in enumerate(parts)}
    monkeypatch.setattr(torch_geometric.datasets, "FB15k_237", lambda root, split: [graph_of(parts[split])])
    monkeypatch.setattr(torch_geometric.datasets, "WordNet18RR", lambda root: [graph_of(rows, **masks)])
    for name in ("FB15k_237", "WordNet18RR"):
        with caplog.at_level(logging.WARNING, "crl"):
            source = PyGTriples(name)  # type: ignore[arg-type]
        assert (source.entities, source.relations) == (("2", "4", "7"), ("0", "2"))
        assert source.items("train").data.tolist() == [[1, 0, 0], [0, 1, 2]]
        assert source.items("test").data.tolist() == [[1, 1, 2]]
        assert "2 triples of test" in caplog.text

    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch_geometric.datasets, "WordNet18", offline)
    with pytest.raises(CrlError, match=r"\bWordNet18\b.*'data'.*no network.*\bgraph/triples\b"):
        PyGTriples("WordNet18")
    with pytest.raises(CrlError, match=r"'WordNet'.*'WordNet18"):
        PyGTriples("WordNet")  # type: ignore[arg-type]


def test_a_source_of_other_things_is_refused() -> None:
    with pytest.raises(CrlError, match=r"NetworkX has no triples.*graph/triples"):
        crl.recipe(trans_e, source=NetworkX())


# -- facts and corruption ------------------------------------------------------------------------------------


def test_facts_know_what_a_set_knows() -> None:
    triples = torch.stack([torch.randint(n, (500,)) for n in (20, 7, 20)], dim=1)
    facts, known = Facts.of(triples, 20, 7), set(map(tuple, triples.tolist()))
    h, r, t = torch.meshgrid(torch.arange(20), torch.arange(7), torch.arange(20), indexing="ij")
    found = facts.have(h, r, t)
    assert {tuple(row) for row in found.nonzero().tolist()} == known
    with pytest.raises(CrlError, match="too many"):
        Facts.of(triples, 2**31, 10)


def corrupted(source: KnowledgeGraph, **options: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Heads, relations, tails `[N, 1 + K]` and which of these are candidates."""
    views = met(Corruption(**options), source)(everything(source))
    head, tail = views["head"].data, views["tail"].data
    valid = views["tail"].meta.get("valid", torch.ones_like(tail, dtype=torch.bool))
    return head, views["relation"].data.unsqueeze(1).expand_as(head), tail, valid


def test_a_filtered_corruption_is_never_a_known_truth() -> None:
    tree = FamilyTree()
    facts = Facts.of(tree.items("train").data, 24, 12)
    head, relation, tail, valid = corrupted(tree, negatives=200)
    known = facts.have(head, relation, tail)
    assert known[:, 0].all(), "the first is the triple itself"
    assert valid[:, 0].all()
    assert not (known & valid)[:, 1:].any()
    assert valid.float().mean() > 0.98, "hardly any is left out: they are drawn anew"
    # A filter that does nothing is caught.
    assert Facts.have(facts, *corrupted(tree, negatives=200, filtered=False)[:3])[:, 1:].any()


def test_what_is_known_at_every_place_is_left_out() -> None:
    """Everything is true: there is no false triple to draw."""
    every = torch.cartesian_prod(torch.arange(3), torch.arange(1), torch.arange(3))
    source = KnowledgeGraph("abc", "r", {"train": every})
    *_, valid = corrupted(source, negatives=5)
    assert valid[:, 0].all()
    assert not valid[:, 1:].any()


def test_head_or_tail_by_a_coin_for_each_triple_and_never_the_same_entity() -> None:
    tree = FamilyTree()
    share = []
    for _ in range(200):
        head, _, tail, _ = corrupted(tree, negatives=3)
        changed_head, changed_tail = (x[:, 1:] != x[:, :1] for x in (head, tail))
        assert not (changed_head & changed_tail).any()
        assert (changed_head | changed_tail).all()
        assert (changed_head == changed_head[:, :1]).all(), "one side for all negatives of a triple"
        share.append(changed_head[:, 0].float())
    of_each = torch.stack(share).mean(0)
    assert ((of_each - 0.5).abs() < 0.2).all(), "of each triple, not of halves of the batch"
    assert abs(float(of_each.mean()) - 0.5) < 0.02
    for side in ("head", "tail"):
        only_head, _, only_tail, _ = corrupted(tree, side=side, negatives=20)
        kept = only_tail if side == "head" else only_head
        assert (kept == kept[:, :1]).all()


def test_every_other_entity_is_drawn_alike() -> None:
    source = KnowledgeGraph("abcde", "r", {"train": torch.tensor([[2, 0, 4]])})
    _, _, tail, _ = corrupted(source, side="tail", negatives=40_000)
    share = torch.bincount(tail[0, 1:], minlength=5) / 40_000
    torch.testing.assert_close(share, torch.tensor([0.25, 0.25, 0.25, 0.25, 0.0]), rtol=0, atol=0.01)


def test_all_tails_leave_out_other_true_ones() -> None:
    tree = FamilyTree()
    batch = everything(tree)
    tail = met(AllTails(), tree)(batch)["tail"]
    known = set(map(tuple, batch.data.tolist()))
    for row, (h, r, t) in enumerate(batch.data.tolist()):
        for entity in range(24):
            assert (tail.meta["triple"][row, entity] == row) == (entity == t)
            assert bool(tail.meta["valid"][row, entity]) == (entity == t or (h, r, entity) not in known)


def test_corruption_needs_something_to_draw() -> None:
    with pytest.raises(CrlError, match="only entity"):
        met(Corruption(), KnowledgeGraph("a", "r", {"train": torch.zeros(1, 3, dtype=torch.int64)}))
    with pytest.raises(CrlError, match="at least 1 negative"):
        Corruption(negatives=0)


# -- encoders, heads, losses ---------------------------------------------------------------------------------


def test_a_table_refuses_what_it_does_not_hold() -> None:
    with pytest.raises(CrlError, match=r"\b3 rows\b.*\b3\b.*\bunknown\b"):
        Table(3)(torch.tensor([0, 3]))
    with pytest.raises(CrlError, match="whole numbers"):
        Table(3)(torch.rand(2))


@pytest.mark.parametrize(
    ("head", "shape", "formula"),
    [
        (Translation(), (5,), "nd,nd->nd"),
        (Diagonal(), (5,), "nd,nd->nd"),
        (MatrixProduct(), (5, 5), "nd,ned->ne"),
    ],
)
def test_a_relation_meets_one_head_or_several(head: torch.nn.Module, shape: tuple[int, ...], formula: str) -> None:
    heads, relation = torch.randn(4, 3, 5).double(), torch.randn(4, *shape).double()
    found = head({"head": heads, "relation": relation})
    for k in range(3):
        alone = head({"head": heads[:, k], "relation": relation})
        expected = (
            heads[:, k] + relation if isinstance(head, Translation) else torch.einsum(formula, heads[:, k], relation)
        )
        torch.testing.assert_close(alone, expected)
        torch.testing.assert_close(found[:, k], expected)


def scores(values: Tensor) -> Scores:
    return Scores.of(values, F.one_hot(torch.zeros(len(values), dtype=torch.int64), values.shape[1]).bool())


def test_margin_ranking_is_the_mean_over_all_negatives() -> None:
    values = -3 * torch.rand(6, 5).double()
    found = MarginRanking(0.7)(scores(values))
    expected = F.relu(0.7 + values[:, 1:] - values[:, :1]).mean()
    torch.testing.assert_close(found.value.sum() / found.terms.sum(), expected)
    assert (found.terms == 4).all(), "also those that are 0"


def test_self_adversarial_is_the_formula_and_its_weights_have_no_gradient() -> None:
    values = (-8 * torch.rand(6, 5)).double().requires_grad_()
    found = SelfAdversarial(6.0, 0.5)(scores(values))
    weight = (0.5 * values[:, 1:]).softmax(1).detach()
    expected = -F.logsigmoid(6 + values[:, 0]) - (weight * F.logsigmoid(-6 - values[:, 1:])).sum(1)
    torch.testing.assert_close(found, expected / 2)
    one, other = (torch.autograd.grad(x.sum(), values)[0] for x in (found, expected / 2))
    torch.testing.assert_close(one, other)


def test_a_left_out_negative_has_no_part_in_either_loss() -> None:
    values = -8 * torch.rand(6, 5).double()
    positive = F.one_hot(torch.zeros(6, dtype=torch.int64), 5).bool()
    there = ~positive & (torch.arange(5) < 4)
    for loss in (MarginRanking(), SelfAdversarial()):
        few = Scores(Candidates(values, positive), Candidates(values, there))
        whole = loss(scores(values[:, :4]))
        for found, expected in zip(*(x if isinstance(x, tuple) else (x,) for x in (loss(few), whole)), strict=True):
            torch.testing.assert_close(found, expected)


def test_the_loss_is_that_of_pyg(monkeypatch: pytest.MonkeyPatch) -> None:
    kge = pytest.importorskip("torch_geometric.nn.kge")
    tree = FamilyTree()
    recipe = crl.recipe(trans_e, source=tree, distance="l2", size=16)
    pipeline = built(recipe)
    theirs = kge.TransE(24, 12, 16, margin=1.0, p_norm=2.0)
    query = pipeline.branches["query"].encoder
    theirs.node_emb.weight.data.copy_(query["head"].weight.data)  # type: ignore[index]
    theirs.rel_emb.weight.data.copy_(query["relation"].weight.data)  # type: ignore[index]
    batch = everything(tree)
    views = pipeline.sampler(batch)
    head, tail = views["head"].data, views["tail"].data
    keep = views["tail"].meta["valid"].all(1)
    assert keep.all(), "or PyG's mean would be over more"
    monkeypatch.setattr(theirs, "random_sample", lambda *_: (head[:, 1], batch.data[:, 1], tail[:, 1]))
    expected = theirs.loss(*batch.data.T)
    table = pipeline.embed(views)
    torch.testing.assert_close(pipeline.contrasts[0](table).value, expected, rtol=1e-5, atol=1e-6)


def test_entities_stay_on_the_sphere_after_every_step_and_relations_do_not() -> None:
    recipe = crl.recipe(trans_e, source=FamilyTree(), size=8)
    pipeline, batch = recipe.pipeline.train(), everything(FamilyTree())
    optimiser = torch.optim.SparseAdam(list(pipeline.build(batch, recipe.source).parameters()), 0.05)
    query = pipeline.branches["query"].encoder
    entities, relations = query["head"], query["relation"]  # type: ignore[index]
    assert pipeline.branches["tail"].encoder is entities, "one table for heads and tails"
    ones = torch.ones(24)
    torch.testing.assert_close(relations.weight.norm(dim=1), ones[:12])
    for _ in range(5):
        pipeline.loss(batch).total.backward()
        optimiser.step()
        optimiser.zero_grad()
        assert not torch.allclose(entities.weight.norm(dim=1), ones, atol=1e-4), "the step itself leaves it"
        pipeline.on_step()
        torch.testing.assert_close(entities.weight.norm(dim=1), ones)
        assert not torch.allclose(relations.weight.norm(dim=1), ones[:12], atol=1e-4), "only at the start"


# -- ranking -------------------------------------------------------------------------------------------------


def by_hand(pipeline: crl.Pipeline, source: KnowledgeGraph, split: str) -> dict[str, list[float]]:
    """Ranks one triple after the other, from distances of vectors."""
    query = pipeline.branches["query"].encoder
    entity, relation = (query[name].weight.detach() for name in ("head", "relation"))  # type: ignore[index]
    true, ranks = all_true(source), {"head": [], "tail": []}
    for h, r, t in source.items(split).data.tolist():
        for side in ("head", "tail"):
            rows = [(e, r, t) if side == "head" else (h, r, e) for e in range(len(source.entities))]
            score = {row: -float((entity[row[0]] + relation[r] - entity[row[2]]).abs().sum()) for row in rows}
            rivals = [score[row] for row in rows if row not in true]
            own = score[h, r, t]
            above, level = sum(x > own + 1e-6 for x in rivals), sum(abs(x - own) <= 1e-6 for x in rivals)
            ranks[side].append(1 + above + level / 2)
    return ranks


def test_ranks_are_those_counted_by_hand() -> None:
    tree = FamilyTree()
    pipeline = built(crl.recipe(trans_e, source=tree, size=6, distance="l1"))
    with torch.no_grad():
        found, expected = filtered_ranks(pipeline, tree, "test"), by_hand(pipeline, tree, "test")
        assert {side: ranks.tolist() for side, ranks in found.items()} == expected
        figures = FilteredRanking()(pipeline, tree, "test")
    both = torch.tensor(expected["head"] + expected["tail"], dtype=torch.float64)
    assert figures["mean rank"] == pytest.approx(float(both.mean()))
    assert figures["mrr"] == pytest.approx(float((1 / both).mean()))
    assert figures["hits@3"] == pytest.approx(float((both <= 3).double().mean()))
    assert figures["hits@10 (tail)"] == pytest.approx(sum(r <= 10 for r in expected["tail"]) / 12)


def test_a_filter_of_the_wrong_triples_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the filter, and with one that leaves out the true entity's rivals of the other side, ranks differ."""
    tree = FamilyTree()
    pipeline = built(crl.recipe(trans_e, source=tree, size=6, distance="l1"))
    expected = by_hand(pipeline, tree, "test")
    right = filtered_ranking._others
    nothing = torch.empty(0, dtype=torch.int64)
    for wrong in (
        lambda given, own, given_there, true_there: (nothing, nothing),
        lambda given, own, given_there, true_there: right(own, given, given_there, true_there),
    ):
        monkeypatch.setattr(filtered_ranking, "_others", wrong)
        found = filtered_ranks(pipeline, tree, "test")
        assert any(found[side].tolist() != expected[side] for side in expected)


def test_equals_share_their_mean_rank_and_a_blind_score_is_in_the_middle() -> None:
    none = (torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64))
    same = torch.zeros(2, 9)
    assert ranks_among(same, torch.tensor([0, 5]), none).tolist() == [5.0, 5.0]
    some = torch.tensor([[3.0, 2.0, 2.0, 1.0]])
    assert ranks_among(some, torch.tensor([1]), none).item() == 2.5
    assert ranks_among(some, torch.tensor([1]), (torch.tensor([0, 0]), torch.tensor([0, 2]))).item() == 1.0
    with pytest.raises(CrlError, match="not a number"):
        ranks_among(torch.full((1, 3), torch.nan), torch.tensor([0]), none)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = FamilyTree(held_out=60)
    pipeline = built(crl.recipe(trans_e, source=tree, size=6, distance="l1"))
    whole = filtered_ranks(pipeline, tree, "test")
    monkeypatch.setattr(filtered_ranking, "_BLOCK", 48)
    blocks = filtered_ranks(pipeline, tree, "test")
    assert all(torch.equal(whole[side], blocks[side]) for side in whole)


def test_ranking_asks_for_triples() -> None:
    with pytest.raises(CrlError, match=r"\bNetworkX\b.*\btriples\b"):
        FilteredRanking()(built(crl.recipe(trans_e)), NetworkX(), "test")


# -- the methods ---------------------------------------------------------------------------------------------


def fitted(recipe: crl.Recipe, **training: Any) -> crl.Pipeline:
    import attrs

    changed = attrs.evolve(recipe.training, **training)
    return crl.fit(recipe.pipeline, recipe.source, changed, show=False).pipeline


def tail_hits(pipeline: crl.Pipeline, source: KnowledgeGraph) -> int:
    with torch.no_grad():
        return int((filtered_ranks(pipeline, source, "test")["tail"] == 1).sum())


@pytest.mark.slow
def test_lre_completes_what_was_held_out() -> None:
    tree = FamilyTree()
    untrained = tail_hits(built(crl.recipe(lre, source=tree)), tree)
    assert untrained <= 3, "chance is half a triple"
    assert tail_hits(fitted(crl.recipe(lre, source=tree)), tree) >= 10


def test_trans_e_learns_the_family_tree() -> None:
    tree = FamilyTree()
    pipelines = [make(crl.recipe(trans_e, source=tree)) for make in (built, fitted)]
    with torch.no_grad():
        untrained, trained = (FilteredRanking()(pipeline, tree, "test") for pipeline in pipelines)
    assert untrained["mrr"] < 0.3
    assert trained["mrr"] > 0.55, trained


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "bar"), [(trans_e, 0.6), (dist_mult, 0.5), (rescal, 0.5)])
def test_umls_is_learned(recipe: Any, bar: float, umls: Path) -> None:
    source = TripleFiles(str(umls))
    pipeline = fitted(crl.recipe(recipe, source=source, preset="umls"), epochs=60)
    with torch.no_grad():
        figures = FilteredRanking()(pipeline, source, "test")
    assert figures["mrr"] > bar, figures


def test_dist_mult_can_not_tell_a_head_from_its_tail() -> None:
    tree = FamilyTree()
    pipeline = built(crl.recipe(dist_mult, source=tree, size=8))
    batch = everything(tree).data
    with torch.no_grad():
        ways = []
        for h, t in ((0, 2), (2, 0)):
            views = {
                name: crl.View(batch[:, place], {"instance": torch.arange(len(batch))})
                for name, place in (("head", h), ("relation", 1), ("tail", t))
            }
            table = pipeline.embed(views)
            ways.append((table["query"].z * table["tail"].z).sum(1))
    torch.testing.assert_close(*ways)
