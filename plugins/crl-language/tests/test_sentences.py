"""Methods for sentences: encoders, pairs, and what they learn of Python's own documentation."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from crl_language.encoders.bag import Bag
from crl_language.encoders.gru import GRU
from crl_language.encoders.transformer import Transformer
from crl_language.evaluators.pair_retrieval import PairRetrieval, encoded, recalls
from crl_language.evaluators.sts import STS, spearman
from crl_language.losses.zero_candidate import ZeroCandidate
from crl_language.recipes.quick_thought import quick_thought
from crl_language.recipes.sentence_bert import sentence_bert
from crl_language.recipes.simcse import simcse
from crl_language.recipes.static import static
from crl_language.samplers.sides import Sides
from crl_language.sources.docstrings import Docstrings
from crl_language.sources.neighbouring import Neighbouring
from crl_language.sources.parallel import Parallel
from crl_language.tokens import Tokens
from torch import Tensor

import crl_core as crl
from crl_core import CrlError
from crl_core.cli import main

TEXTS = Tokens.of([[5, 6, 7], [2, 8, 3], [], [2, 3]])


class Texts:
    """A source of texts with a column."""

    splits = ("train", "test")

    def __init__(self, texts: list[str], **columns: list[int]) -> None:
        self.texts, self.columns = texts, {name: torch.tensor(column) for name, column in columns.items()}

    def items(self, split: str) -> crl.InMemory:
        return crl.InMemory(self.texts, self.columns)


def multiple_negatives(left: Tensor, right: Tensor, scale: float = 20.0) -> Tensor:
    """The cross-entropy of finding the right text of each left one, by cosine: as sentence-transformers has it."""
    scores = scale * F.normalize(left, dim=1) @ F.normalize(right, dim=1).T
    return F.cross_entropy(scores, torch.arange(len(left)))


# -- the bag ---------------------------------------------------------------------------------------------------


def test_a_bag_is_the_mean_of_its_words() -> None:
    bag = Bag(9, 4, special=5)
    z = bag(TEXTS)
    assert torch.allclose(z[0], bag.weight[5:8].mean(0))
    assert torch.allclose(z[1], bag.weight[8]), "the begin and the end of a text are no words"
    assert not z[2:].any(), "a text without words is zeros"
    assert torch.allclose(Bag.forward(plain := Bag(9, 4), TEXTS)[1], plain.weight[[2, 8, 3]].mean(0))


def test_sparse_gradients_are_those_of_a_dense_table() -> None:
    gradients = []
    for sparse in (False, True):
        torch.manual_seed(0)
        bag = Bag(9, 4, special=5, sparse=sparse)
        bag(TEXTS).square().sum().backward()
        assert bag.weight.grad is not None
        assert bag.weight.grad.is_sparse == sparse
        gradients.append(bag.weight.grad.to_dense())
    assert torch.allclose(*gradients)
    assert gradients[0][5:].all()
    assert not gradients[0][:5].any()


def test_tokens_of_another_reader_are_told() -> None:
    with pytest.raises(CrlError, match=r"\b8\b.*\b8 and 2\b"):
        Bag(8, 4)(TEXTS)
    with pytest.raises(CrlError, match="words"):
        Bag("words", 4)(TEXTS)


# -- the other encoders ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "encoder",
    [GRU(9, 8), *(Transformer(9, 8, depth=2, heads=2, longest=64, pool=pool) for pool in ("first", "mean", None))],
    ids=["gru", "first", "mean", "all"],
)
def test_padding_changes_nothing(encoder: torch.nn.Module) -> None:
    encoder.eval()
    texts = Tokens.of([[5, 6, 7], [2, 8, 3]])
    padded = Tokens.of([[5, 6, 7], [2, 8, 3], [4] * 7, [5] * 60])
    z, wide = (_pooled(encoder(some)) for some in (texts, padded))
    assert torch.allclose(wide[:2], z, atol=1e-5)
    assert z.std() > 0.01
    assert not _pooled(encoder(TEXTS))[2].any(), "a text without tokens is zeros"


def _pooled(found: Tensor | crl.Embeddings) -> Tensor:
    return found if isinstance(found, Tensor) else found.mean()


def test_vectors_of_tokens_know_which_are_padding() -> None:
    found = Transformer(9, 8, depth=1, heads=2)(TEXTS)
    assert found.z.shape == (4, 3, 8)
    assert found.meta["valid"].sum(1).tolist() == [3, 3, 0, 2]
    assert len(found.rows()) == 8


def test_texts_of_like_length_go_together_and_come_back_in_order() -> None:
    encoder = Transformer(9, 8, depth=1, heads=2, pool="mean").eval()
    texts = Tokens.of([[1 + (row * place) % 8 for place in range(1 + row * 7 % 13)] for row in range(40)])
    alone = torch.cat([encoder(texts.take_rows(torch.tensor([row]))) for row in range(40)])
    assert torch.allclose(encoder(texts), alone, atol=1e-5)


def test_layers_begin_with_weights_of_their_own() -> None:
    first, second = Transformer(9, 8, depth=2, heads=2).layers
    assert not torch.equal(first.linear1.weight, second.linear1.weight)


def test_order_counts_for_all_but_the_bag() -> None:
    texts = Tokens.of([[5, 6, 7], [7, 6, 5]])
    for encoder in (GRU(9, 8), Transformer(9, 8, depth=1, heads=2, pool="mean").eval()):
        z = encoder(texts)
        assert not torch.allclose(z[0], z[1], atol=1e-4)


def test_texts_that_are_too_long_are_told() -> None:
    with pytest.raises(CrlError, match=r"\b3 tokens\b.*\b2 places"):
        Transformer(9, 8, heads=2, longest=2)(TEXTS)


# -- pairs -----------------------------------------------------------------------------------------------------


def test_neighbours_are_of_one_document() -> None:
    source = Neighbouring(Texts(["a", "b", "c", "d", "e"], document=[0, 0, 0, 1, -1], label=[0, 1, 2, 3, 4]))
    view = source.items("train").__getitems__([0, 1])
    assert len(source.items("train")) == 2
    assert view.data == {"left": ["a", "b"], "right": ["b", "c"]}
    assert view.meta["label"].tolist() == [0, 1]
    with pytest.raises(CrlError, match=r"'page'.*document"):
        Neighbouring(source.source, "page").items("train")
    with pytest.raises(CrlError, match="document"):
        Neighbouring(Texts(["a", "b"], document=[0, 1])).items("train")


def test_sides_are_views_and_single_texts_are_either_side() -> None:
    batch = crl.View({"left": TEXTS, "right": TEXTS}, {"instance": torch.arange(4)})
    assert Sides()(batch)["left"].data is TEXTS
    alone = crl.View(TEXTS, batch.meta)
    assert Sides().clean(alone) is alone
    with pytest.raises(CrlError, match=r"left, right\b.*Tokens"):
        Sides()(alone)
    with pytest.raises(CrlError, match=r"left, middle\b.*left, right"):
        Sides(["left", "middle"])(batch)


def test_recall_counts_ties_against_a_pair() -> None:
    z = torch.eye(4)
    assert recalls(z, z, [1]) == {1: 1.0}
    assert recalls(torch.ones(4, 2), torch.ones(4, 2), [1, 3, 4]) == {1: 0.0, 3: 0.0, 4: 1.0}


# -- static ----------------------------------------------------------------------------------------------------


@cache
def small_static() -> tuple[crl.Recipe, crl.View]:
    recipe = crl.recipe(static, size=64, prefixes=[32, 8], pieces=2_000)
    batch = recipe.source.items("train").__getitems__(list(range(40)))
    recipe.pipeline.build(batch, recipe.source)
    return recipe, batch


def test_static_is_the_sum_over_prefixes_of_the_usual_loss() -> None:
    recipe, batch = small_static()
    losses = recipe.pipeline.loss(batch)
    left, right = (recipe.pipeline.encode(batch, side) for side in ("left", "right"))
    wanted = [multiple_negatives(left[:, :cut], right[:, :cut]) for cut in (64, 32, 8)]
    assert [term.item() for term in losses.terms.values()] == pytest.approx([one.item() for one in wanted], rel=1e-4)
    assert losses.total.item() == pytest.approx(sum(one.item() for one in wanted), rel=1e-4)


@pytest.mark.peers
def test_static_is_matryoshka_loss_of_sentence_transformers() -> None:
    losses = pytest.importorskip("sentence_transformers.losses")
    recipe, batch = small_static()
    sides = [recipe.pipeline.encode(batch, side) for side in ("left", "right")]
    theirs = losses.MultipleNegativesRankingLoss(model=None)
    wanted = sum(theirs.compute_loss_from_embeddings([z[:, :cut] for z in sides], None) for cut in (64, 32, 8))
    assert recipe.pipeline.loss(batch).total.item() == pytest.approx(wanted.item(), rel=1e-4)


def test_plain_strings_are_encoded_by_either_side() -> None:
    recipe, _ = small_static()
    z = recipe.pipeline.encode(["read a file", "a file: read"])
    assert z.shape == (2, 64)
    assert float(F.cosine_similarity(z[:1], z[1:])) > 0.5, "nearly the same words"
    assert torch.equal(recipe.pipeline.encode(["read a file"], "left-8"), z[:1, :8])


def test_a_source_of_pairs_is_taken_as_it_is() -> None:
    pairs = Neighbouring(Docstrings())
    assert crl.recipe(static, source=pairs).source is pairs
    assert isinstance(small_static()[0].source, Neighbouring)


def test_static_finds_the_next_sentence_and_the_module() -> None:
    """Of 447 next sentences, in a few seconds of training: chance is 1 and 10 in 447."""
    recipe = crl.recipe(static, epochs=4)
    fitted = crl.fit(recipe.pipeline, recipe.source, recipe.training, show=False)
    evaluators = [PairRetrieval(), crl.make("evaluator", "core/knn")]
    figures = crl.evaluate(fitted.pipeline, recipe.source, evaluators=evaluators).figures
    found = {name: splits["test"] for name, splits in figures.items()}
    assert found["pair-recall@10"]["trained"] > found["pair-recall@10"]["untrained"] + 0.2
    assert found["pair-recall@10"]["trained"] > found["tf-idf-pair-recall@10"]["trained"]
    assert found["knn"]["trained"] > found["knn"]["untrained"] + 0.08


# -- simcse ----------------------------------------------------------------------------------------------------


def small_simcse(**settings: object) -> crl.Recipe:
    torch.manual_seed(0)
    network = Transformer("pieces", size=64, depth=1, longest=32, pool="mean")
    return crl.recipe(simcse, encoder=network, pieces=2_000, epochs=1, **settings)


def test_simcse_is_the_usual_loss_of_two_dropout_views() -> None:
    recipe = small_simcse()
    batch = recipe.source.items("train").__getitems__(list(range(40)))
    pipeline = recipe.pipeline.build(batch, recipe.source).train()
    a, b = (pipeline.embed(pipeline.draw(batch))[name].z for name in ("a", "b"))
    assert not torch.allclose(a, b, atol=0.01), "dropout makes the views different"
    still = pipeline.eval().embed(pipeline.draw(batch))
    assert torch.allclose(still["a"].z, still["b"].z)
    wanted = multiple_negatives(still["a"].z, still["b"].z).item()
    assert pipeline.loss(batch).total.item() == pytest.approx(wanted, rel=1e-4)


def test_simcse_finds_a_sentence_by_half_of_its_words() -> None:
    """One of about 1,200: chance is below 0.001."""
    recipe, other = small_simcse(), small_simcse()
    batch = other.source.items("train").__getitems__([0, 1])
    untrained = other.pipeline.build(batch, other.source).eval()
    trained = crl.fit(recipe.pipeline, recipe.source, recipe.training, show=False).pipeline.eval()
    whole = recipe.source.items("test").data
    half = [" ".join(text.split()[::2]) for text in whole]
    before, after = (recalls(encoded(one, half), encoded(one, whole), [1])[1] for one in (untrained, trained))
    assert after > before + 0.1
    assert crl.effective_rank(encoded(trained, whole)) > 10


# -- quick-thought and sentence-bert ---------------------------------------------------------------------------


def test_the_loss_of_quick_thought_is_that_of_its_authors() -> None:
    """Their formula: scores with 0 on the diagonal, and targets of 1 over the number of neighbours."""
    source = Texts(["read a file", "write a file", "close the file", "read it again", "a file"], document=[7] * 5)
    recipe = crl.recipe(quick_thought, source=source, network="gru", size=8, width=6, min_count=1)
    batch = source.items("train").__getitems__([0, 1, 2, 3, 4])
    pipeline = recipe.pipeline.build(batch, source)
    found = pipeline.loss(batch).total.item()
    f, g = (pipeline.encode(batch, name) for name in ("sentence", "neighbour"))
    scores = (f @ g.T).fill_diagonal_(0.0)
    targets = torch.diag(torch.ones(4), 1) + torch.diag(torch.ones(4), -1)
    wanted = F.cross_entropy(scores, targets / targets.sum(1, keepdim=True)).item()
    assert found == pytest.approx(wanted, rel=1e-5)
    assert torch.equal(pipeline.encode(batch), torch.cat([f, g], 1)), "the representation is that of both encoders"


def test_one_more_candidate_has_the_score_0() -> None:
    values = torch.randn(3, 6)
    positive = torch.eye(3, 6, dtype=torch.bool)
    wanted = F.cross_entropy(torch.cat([values, torch.zeros(3, 1)], 1), torch.arange(3), reduction="none")
    assert torch.allclose(ZeroCandidate()(crl.Scores.of(values, positive)), wanted, atol=1e-6)


def test_quick_thought_finds_the_next_sentence() -> None:
    """Of 447 next sentences; chance for the first ten is 0.022."""
    recipe = crl.recipe(quick_thought, epochs=6)
    pipeline = crl.fit(recipe.pipeline, recipe.source, recipe.training, show=False).pipeline
    pairs = Neighbouring(Docstrings()).items("test").data
    f, g = pipeline.encode(pairs["left"], "sentence"), pipeline.encode(pairs["right"], "neighbour")
    scores = f @ g.T
    found = ((scores >= scores.diagonal().unsqueeze(1)).sum(1) <= 10).float().mean().item()
    assert found > 0.12


def test_sentence_bert_is_the_triplet_loss_of_distances() -> None:
    network = Transformer("pieces", size=16, depth=1, heads=2, dropout=0.0, pool="mean")
    recipe = crl.recipe(sentence_bert, encoder=network, margin=1.0, pieces=500)
    items = recipe.source.items("train")
    assert isinstance(recipe.source, crl.ByColumn)
    batch = items.__getitems__(list(items.batches(128, torch.Generator().manual_seed(0))[0]))
    pipeline = recipe.pipeline.build(batch, recipe.source)
    pairs = pipeline.contrasts[0].pairs(pipeline.embed(pipeline.draw(batch)))
    assert pairs is not None
    positive, negative = pairs.masks()
    assert (positive.sum(1) <= 1).all()
    assert (negative.sum(1) == positive.sum(1)).float().mean() > 0.5, "one triplet for each"
    assert pairs.key.shape[1] == 2
    distance = (pairs.query.z - pairs.key).norm(dim=-1)
    loss = pipeline.contrasts[0].loss(crl.Scores.of(-distance, positive))
    both = positive.any(1)
    wanted = F.relu(distance[:, 0] - distance[:, 1] + 1.0)
    assert torch.allclose(loss[both], wanted[both], atol=1e-5)


# -- files of pairs --------------------------------------------------------------------------------------------


def test_parallel_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    left, right = tmp_path / "en.txt", tmp_path / "es.txt"
    left.write_bytes("\ufeffcat\r\ndog\r\n\r\nhouse\r\n".encode())
    right.write_text("gato\nperro\nnada\ncasa\n", encoding="utf-8")
    source = Parallel(str(left), str(right), held_out=0.3)
    view = source.items("train").__getitems__([0, 1])
    assert view.data == {"left": ["cat", "dog"], "right": ["gato", "perro"]}
    assert source.items("test").data == {"left": ["house"], "right": ["casa"]}
    assert source.items("test").columns["line"].tolist() == [3]
    assert "1 of 4" in caplog.text
    right.write_text("gato\n", encoding="utf-8")
    with pytest.raises(CrlError, match=r"\b4 lines\b.*\b1\b"):
        Parallel(str(left), str(right)).items("train")


def test_columns_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text('score,one,other\n5,"a, b",c\n1,d,e\n3,f,"g\nh"\n', encoding="utf-8")
    source = Parallel(str(path), columns=(1, 2), header=True)
    assert source.items("train").data == {"left": ["a, b", "d"], "right": ["c", "e"]}
    assert source.items("test").data == {"left": ["f"], "right": ["g h"]}
    with pytest.raises(CrlError, match=r"line 1\b.*\b3 columns\b.*\b7\b"):
        Parallel(str(path), columns=(0, 7)).items("train")
    with pytest.raises(CrlError, match="nowhere"):
        Parallel("nowhere.tsv").items("train")


def test_rank_correlation_is_that_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    one, other = torch.randint(0, 9, (50,)).float(), torch.randn(50)
    assert spearman(one, other) == pytest.approx(stats.spearmanr(one, other).statistic, abs=1e-6)


def test_sts_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "sts.tsv"
    rows = ["read a file\tread the file\t4.8", "read a file\twrite the list\t1.5", "open a port\tthe last day\t0.1"]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    recipe, _ = small_static()
    figures = crl.evaluate(recipe.pipeline, recipe.source, evaluators=[STS(str(path))]).figures
    assert set(figures) == {"sts", "tf-idf-sts"}
    assert figures["sts"]["test"]["trained"] == pytest.approx(1.0, abs=0.51)
    path.write_text("a\tb\tscore\n", encoding="utf-8")
    with pytest.raises(CrlError, match=r"column 2\b.*'score'"):
        STS(str(path))(recipe.pipeline, recipe.source, "test")


def test_static_embeddings_on_sts_benchmark() -> None:
    """Trained on Python's documentation alone. TF-IDF of the test's words has about 0.69."""
    folder = Path(os.environ.get("CRL_DATA") or "~/.cache/crl-data").expanduser() / "sts"
    if not folder.is_dir():
        pytest.skip(f"no {folder}: python benchmarks/data.py sts fetches it, to where CRL_DATA says")
    recipe = crl.recipe(static, epochs=4)
    pipeline = crl.fit(recipe.pipeline, recipe.source, recipe.training, show=False).pipeline
    sts = STS(str(next(folder.rglob("sts-test.csv"))), columns=(5, 6, 4))
    figures = {
        of: found["test"] for of, found in crl.evaluate(pipeline, recipe.source, evaluators=[sts]).figures.items()
    }
    assert figures["sts"]["trained"] > figures["sts"]["untrained"] + 0.015
    assert figures["sts"]["trained"] > 0.58
    assert figures["tf-idf-sts"]["trained"] == pytest.approx(0.693, abs=0.03)


# -- plain strings, after training -----------------------------------------------------------------------------


def test_a_run_and_its_export_encode_plain_strings(tmp_path: Path) -> None:
    recipe = crl.recipe(static, size=16, prefixes=[8], pieces=500, epochs=1)
    run, exported, texts = tmp_path / "run", tmp_path / "export", ["read a file", "a list of numbers"]
    fitted = crl.fit(recipe.pipeline, recipe.source, recipe.training, out=run, show=False)
    wanted = fitted.pipeline.encode(texts)
    crl.save(fitted.pipeline, exported)
    for path in (run, exported):
        assert torch.equal(crl.load(path).encode(texts), wanted)
        main(["embed", str(path), "--items", *texts, "--out", str(tmp_path / "z.npz")])
        assert torch.equal(torch.from_numpy(np.load(tmp_path / "z.npz")["representation"]), wanted)
