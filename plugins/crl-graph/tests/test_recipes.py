"""What the recipes train by: the papers' settings, the presets, and files that hold recipes alone."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import attrs
import crl_graph
import pytest
import torch
from crl_graph.adjacency import Adjacency
from crl_graph.graphs import GraphSet, Knowledge, OneGraph, Walked, World
from crl_graph.network import Network
from crl_graph.recipes.gcc import gcc
from crl_graph.recipes.node2vec import node2vec
from crl_graph.recipes.trans_e import trans_e
from crl_graph.sources.communities import Communities
from crl_graph.sources.families import Families
from crl_graph.sources.family_tree import FamilyTree
from crl_graph.sources.networkx import NetworkX
from crl_graph.sources.numbers_of_nodes import NumbersOfNodes
from crl_graph.sources.seeds import Seeds
from crl_graph.sources.triples import TripleFiles

import crl_core as crl
from crl_core import CrlError

FOLDER = Path(crl_graph.__path__[0]) / "recipes"
FILES = sorted(file for file in FOLDER.glob("*.py") if file.name != "__init__.py")
NAMES = [file.stem.replace("_", "-") for file in FILES]

COSINE, CONSTANT = crl.CosineDecay(), crl.Constant()
OURS = crl.AdamW(1e-3, weight_decay=0.0)
TWICE = crl.AdamW(2e-3, weight_decay=0.0)
SPARSE = crl.SparseAdam(5e-3)

# Epochs, size of a batch (None where a graph is one), optimiser and schedule. "paper" are the papers', or their
# authors' scripts' where the papers are silent: a number that differs from theirs is a fault.
TRAININGS: dict[tuple[str, str], tuple[int, int | None, Any, Any]] = {
    ("c-swm", "paper"): (100, 1_024, crl.Adam(5e-4), CONSTANT),
    ("c-swm", "blocks"): (40, 256, OURS, COSINE),
    ("dgi", "paper"): (300, None, crl.Adam(1e-3), CONSTANT),
    ("dgi", "communities"): (300, None, TWICE, COSINE),
    ("dist-mult", "paper"): (100, 48_314, crl.Adagrad(0.1), CONSTANT),
    ("dist-mult", "family-tree"): (200, 32, SPARSE, COSINE),
    ("dist-mult", "umls"): (100, 256, SPARSE, COSINE),
    ("gcc", "paper"): (100, 32, crl.Adam(5e-3, weight_decay=1e-5), crl.LinearDecay(warmup=10.0)),
    ("gcc", "e2e"): (100, 1_024, crl.Adam(5e-3, weight_decay=1e-5), crl.LinearDecay(warmup=10.0)),
    ("gcc", "roles"): (30, 32, crl.AdamW(5e-3, weight_decay=1e-5), crl.CosineDecay(warmup=3.0)),
    ("gcc", "roles-e2e"): (30, 128, crl.AdamW(5e-3, weight_decay=1e-5), crl.CosineDecay(warmup=3.0)),
    ("grace", "paper"): (200, None, crl.Adam(5e-4, weight_decay=1e-5), CONSTANT),
    ("grace", "communities"): (200, None, crl.AdamW(1e-3, weight_decay=1e-5), COSINE),
    ("graph-cl", "paper"): (20, 128, crl.Adam(1e-2), CONSTANT),
    ("graph-cl", "families"): (20, 128, OURS, COSINE),
    ("info-graph", "paper"): (20, 128, crl.Adam(1e-3), CONSTANT),
    ("info-graph", "families"): (20, 128, OURS, COSINE),
    ("lre", "paper"): (1_000, 100, crl.AdamW(0.1, weight_decay=2.0), COSINE),
    ("mvgrl", "paper"): (300, None, crl.Adam(1e-3), CONSTANT),
    ("mvgrl", "communities"): (300, None, TWICE, COSINE),
    ("mvgrl-graphs", "paper"): (40, 64, crl.Adam(1e-3), CONSTANT),
    ("mvgrl-graphs", "families"): (20, 128, OURS, COSINE),
    ("node2vec", "paper"): (10, 8, crl.SGD(1.5 * 156 / 17), crl.LinearDecay()),  # the karate club's edges
    ("node2vec", "karate"): (10, 4, crl.SGD(1.5 * 156 / 17), COSINE),
    ("node2vec", "communities"): (10, 8, crl.SGD(1.5 * 156 / 17), COSINE),
    ("rescal", "paper"): (100, 256, SPARSE, COSINE),
    ("rescal", "family-tree"): (200, 32, SPARSE, COSINE),
    ("rescal", "umls"): (100, 256, SPARSE, COSINE),
    ("trans-e", "paper"): (500, 4_831, crl.SGD(1.0), CONSTANT),
    ("trans-e", "family-tree"): (200, 32, SPARSE, COSINE),
    ("trans-e", "umls"): (100, 256, SPARSE, COSINE),
}

# Places of the spec, by numbers of the papers and of the presets.
SETTINGS: dict[tuple[str, str], dict[str, Any]] = {
    ("c-swm", "paper"): {"branches.states.encoder.hidden": 512, "contrasts.0.score.temperature": 2.5**0.5},
    ("c-swm", "blocks"): {"branches.states.encoder.hidden": 128, "branches.predicted.head.hidden": 128},
    ("dgi", "paper"): {"branches.nodes.encoder.size": 512},
    ("dist-mult", "paper"): {
        "sampler.negatives": 2,
        "branches.tail.encoder.size": 100,
        "branches.tail.encoder.normalise": "always",
        "contrasts.0.loss.use": "graph/margin-ranking",
        "contrasts.0.loss.margin": 1.0,
    },
    ("dist-mult", "umls"): {"sampler.negatives": 16, "branches.tail.encoder.size": 64},
    ("gcc", "paper"): {
        "branches.key.update.momentum": 0.999,
        "contrasts.0.keys.0.size": 16_384,
        "contrasts.0.score.temperature": 0.07,
    },
    ("gcc", "roles"): {"branches.key.update.momentum": 0.99, "contrasts.0.keys.0.size": 700},
    ("gcc", "e2e"): {"branches.key.update.use": "core/shared", "contrasts.0.keys": []},
    ("grace", "paper"): {"sampler.other_edges": 0.4, "contrasts.0.score.temperature": 0.4},
    ("graph-cl", "paper"): {"contrasts.0.score.temperature": 0.2, "sampler.nodes": 0.2},
    ("info-graph", "paper"): {"branches.graphs.encoder.size": 32, "branches.graphs.encoder.depth": 5},
    ("lre", "paper"): {"branches.tail.encoder.size": 8},
    ("mvgrl", "paper"): {"sampler.alpha": 0.2, "branches.both.encoder.adjacency.size": 512},
    ("mvgrl-graphs", "paper"): {
        "branches.both.encoder.adjacency.size": 512,
        "branches.both.encoder.adjacency.depth": 4,
    },
    ("mvgrl-graphs", "families"): {
        "branches.both.encoder.adjacency.size": 128,
        "branches.both.encoder.adjacency.depth": 3,
    },
    ("node2vec", "paper"): {"sampler.p": 1.0, "sampler.q": 1.0, "branches.centre.encoder.size": 128},
    ("node2vec", "karate"): {"sampler.q": 0.5, "branches.centre.encoder.size": 16},
    ("rescal", "paper"): {"branches.tail.encoder.size": 100},
    ("rescal", "family-tree"): {"branches.tail.encoder.size": 32},
    ("trans-e", "paper"): {
        "sampler.negatives": 1,
        "sampler.filtered": False,
        "branches.tail.encoder.size": 50,
        "contrasts.0.score.use": "core/l1",
        "contrasts.0.loss.margin": 1.0,
    },
    ("trans-e", "family-tree"): {"contrasts.0.score.use": "core/l2", "branches.tail.encoder.size": 64},
    ("trans-e", "umls"): {"contrasts.0.score.use": "core/l1", "sampler.filtered": True},
}


def presets(name: str) -> list[str]:
    return list(getattr(crl.get("recipe", name), "presets", {"paper": {}}))


def spec(made: crl.Recipe) -> Any:
    return crl.plain(crl.describe(made.pipeline))


def at(data: Any, place: str) -> Any:
    for step in place.split("."):
        data = data[int(step)] if isinstance(data, list) else data[step]
    return data


def test_every_preset_is_looked_at() -> None:
    assert {(name, preset) for name in NAMES for preset in presets(name)} == set(TRAININGS)


@pytest.mark.parametrize(("name", "preset"), TRAININGS)
def test_presets_train_by_these_settings(name: str, preset: str) -> None:
    made = crl.recipe(name, preset=preset)
    epochs, batch_size, optimiser, schedule = TRAININGS[name, preset]
    training: Any = made.training
    assert (training.epochs, training.schedule) == (epochs, schedule)
    assert type(training.optimiser) is type(optimiser)
    assert attrs.asdict(training.optimiser) == pytest.approx(attrs.asdict(optimiser))
    assert batch_size in (None, training.batch_size)
    data = spec(made)
    found = {place: at(data, place) for place in SETTINGS.get((name, preset), {})}
    assert found == SETTINGS.get((name, preset), {})


@pytest.mark.parametrize("name", NAMES)
def test_the_function_itself_is_the_papers(name: str) -> None:
    function = crl.get("recipe", name)
    made, papers = function(), crl.recipe(name, preset="paper")
    assert spec(made) == spec(papers)
    assert made.training == papers.training


def facts(folder: Path, count: int) -> TripleFiles:
    folder.mkdir()
    (folder / "train.tsv").write_text("".join(f"e{n}\tr\te{n + 1}\n" for n in range(count)))
    return TripleFiles(str(folder))


@pytest.mark.parametrize("name", ["trans-e", "dist-mult", "rescal", "lre"])
def test_no_number_changes_at_a_thousand_triples(name: str, tmp_path: Path) -> None:
    made = [crl.recipe(name, source=facts(tmp_path / str(count), count)) for count in (999, 1_001)]
    assert spec(made[0]) == spec(made[1])
    assert made[0].training == made[1].training


def ring(nodes: int) -> Network:
    each = torch.arange(nodes)
    return Network(Adjacency.of(torch.stack([each, each.roll(-1)]), nodes), [str(node) for node in range(nodes)])


def test_no_number_changes_at_a_thousand_nodes() -> None:
    made = [crl.recipe("node2vec", source=ring(nodes)) for nodes in (999, 1_001)]
    assert spec(made[0]) == spec(made[1])
    assert made[0].training == made[1].training


def test_no_number_changes_at_as_many_nodes_as_a_queue_has_keys() -> None:
    made = [crl.recipe("gcc", source=Communities(nodes=nodes, groups=3)) for nodes in (16_383, 16_385)]
    assert spec(made[0]) == spec(made[1])
    assert made[0].training == made[1].training


def test_the_rate_of_walks_is_word2vecs_and_less_where_a_node_has_most_edges() -> None:
    def rate(source: Network, **settings: Any) -> float:
        training: Any = crl.recipe(node2vec, source=source, preset="paper", **settings).training
        return float(training.optimiser.learning_rate)

    assert rate(ring(4_000)) == pytest.approx(0.025 * 8 * 80 * 11)
    assert rate(ring(4_000), batch_size=2, window=4) == pytest.approx(0.025 * 2 * 80 * 5)
    assert rate(NetworkX()) == pytest.approx(1.5 * 156 / 17)
    star = Network(Adjacency.of(torch.stack([torch.zeros(50).long(), torch.arange(1, 51)]), 51), map(str, range(51)))
    assert rate(star) == pytest.approx(3.0), "the middle has half of all ends of edges"


def test_the_rate_of_trans_e_follows_the_triples_of_a_batch(tmp_path: Path) -> None:
    def rate(**settings: Any) -> float:
        training: Any = crl.recipe(trans_e, preset="paper", **settings).training
        return float(training.optimiser.learning_rate)

    assert rate(batch_size=20) == pytest.approx(0.2)
    assert rate() == pytest.approx(1.0), "100 triples are one batch"
    assert rate(source=facts(tmp_path / "many", 5_000)) == pytest.approx(48.31)


def test_what_recipes_are_for() -> None:
    assert isinstance(OneGraph().source, Communities)
    drawn = OneGraph().by_degree(0.75).source
    assert isinstance(drawn, Seeds)
    assert drawn.power == 0.75
    assert isinstance(GraphSet().source, Families)
    source = NetworkX()
    assert Walked(source).network is source
    assert isinstance(Walked(Communities(nodes=120, groups=3)).network, NumbersOfNodes)
    assert isinstance(Knowledge().source, FamilyTree)
    assert (World().objects, World().actions) == (5, 4)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        OneGraph().source = Communities()  # type: ignore[misc]


def test_settings_are_fields_of_the_data_options_and_fields_of_training() -> None:
    made = crl.recipe("c-swm", objects=3, hidden=32, epochs=2)
    training: Any = made.training
    assert training.epochs == 2
    assert at(spec(made), "branches.states.encoder.objects") == 3
    assert at(spec(made), "branches.predicted.head.objects") == 3


@pytest.mark.parametrize("wrong", [{"form": "simclr"}, {"preset": "cora"}, {"quue": 3}])
def test_wrong_settings_of_gcc(wrong: dict[str, Any]) -> None:
    with pytest.raises(CrlError):
        crl.recipe(gcc, **wrong)


# -- the files -----------------------------------------------------------------------------------------------


def test_a_recipe_is_one_screen() -> None:
    lines = {file.stem: len(file.read_text().splitlines()) for file in FILES}
    assert 20 <= sum(lines.values()) / len(lines) <= 40, lines
    assert max(lines.values()) <= 60, lines


def test_the_folder_holds_recipes_alone() -> None:
    assert not (FOLDER / "__init__.py").read_text()
    for name, file in zip(NAMES, FILES, strict=True):
        function = crl.get("recipe", name)
        assert inspect.getsourcefile(function) == str(file)
        assert function.__name__ == file.stem
        assert file.read_text().count("\ndef ") == 1
        text = inspect.getdoc(function) or ""
        assert all(f"\n{word}: " in text for word in ("Paper", "Checked", "Differs")), name
