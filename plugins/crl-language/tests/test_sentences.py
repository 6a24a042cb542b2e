"""Methods for sentences: encoders, pairs, and what they learn of Python's own documentation."""

from __future__ import annotations

from functools import cache

import pytest
import torch
import torch.nn.functional as F
from crl_language.encoders.bag import Bag
from crl_language.evaluators.pair_retrieval import PairRetrieval, recalls
from crl_language.recipes.static import static
from crl_language.samplers.sides import Sides
from crl_language.sources.docstrings import Docstrings
from crl_language.sources.neighbouring import Neighbouring
from crl_language.tokens import Tokens
from torch import Tensor

import crl_core as crl
from crl_core import CrlError

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
