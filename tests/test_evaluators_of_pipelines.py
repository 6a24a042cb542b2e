"""Evaluators that train on an encoder, vote by a score, or look for neighbours in the test set."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import crl_core as crl
from crl_core import CrlError, Embeddings, Pipeline, View
from crl_core.evaluation.augmented_linear import AugmentedLinearProbe
from crl_core.evaluation.classifier import _some
from crl_core.evaluation.few_labels import FewLabels
from crl_core.evaluation.labelled import labels
from crl_core.evaluation.retrieval import Retrieval
from crl_core.evaluation.score_knn import ScoreKNN


class Items:
    def __init__(self, data: Tensor, label: Tensor | None) -> None:
        self.data, self.label = data, label

    def __len__(self) -> int:
        return len(self.data)

    def __getitems__(self, indices: list[int]) -> View:
        index = torch.tensor(indices, dtype=torch.long)
        labels = {} if self.label is None else {"label": self.label[index]}
        return View(self.data[index], {"instance": index, **labels})


class Blobs:
    """Four classes in ten dimensions, of which two tell them apart; a test set of its own."""

    splits = ("train", "test")

    def __init__(self, unknown: bool = False, labelled: bool = True) -> None:
        self.unknown, self.labelled = unknown, labelled

    def items(self, split: str) -> Items:
        generator = torch.Generator().manual_seed(self.splits.index(split))
        label = torch.arange(200) % 4
        data = torch.randn(200, 10, generator=generator)
        data[:, :2] = 3 * torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])[label] + 0.5 * data[:, :2]
        if self.unknown:
            label = torch.where(torch.arange(200) % 2 == 1, -1, label)
        return Items(data, label if self.labelled else None)


class Noisy:
    views = ("a", "b")

    def __call__(self, batch: View) -> dict[str, View]:
        return {name: View(batch.data + 0.1 * torch.randn_like(batch.data), batch.meta) for name in self.views}

    def clean(self, batch: View) -> View:
        return batch


def pipeline() -> Pipeline:
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(10, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 8))
    batch = Blobs().items("train").__getitems__(list(range(8)))
    return Pipeline(Noisy, encoder=encoder, head=crl.MLP(6), score=crl.L2(), loss="info-nce").build(batch).eval()


QUICK = FewLabels(0.2, epochs=40, batch_size=20, learning_rate=1e-2)
PROBE = AugmentedLinearProbe(epochs=40, batch_size=50, learning_rate=3e-2)


@pytest.mark.parametrize(
    "evaluator",
    [QUICK, FewLabels(0.2, epochs=40, batch_size=20, learning_rate=1e-2, view="b"), PROBE, ScoreKNN(k=5)],
    ids=["few labels", "of a view", "probe", "score"],
)
def test_they_find_the_classes_and_leave_the_pipeline_as_it_was(evaluator: crl.Evaluator) -> None:
    found = pipeline()
    before = {name: value.clone() for name, value in found.state_dict().items()}
    figures = evaluator(found, Blobs(), "test")
    ((_, value),) = figures.items()
    assert value > 0.8, "chance is .25"
    assert all(torch.equal(value, before[name]) for name, value in found.state_dict().items())
    assert not found.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in found.parameters())


def test_the_probe_leaves_the_encoder_frozen_and_fine_tuning_does_not() -> None:
    """On a representation in which the classes can't be seen, only what trains the encoder finds them."""
    found = pipeline()
    with torch.no_grad():
        first, last = found.branches["query"].encoder[0], found.branches["query"].encoder[3]  # type: ignore[index]
        first.weight[:, :2] = 0.0
        last.weight.mul_(0.1)
    assert PROBE(found, Blobs(), "test")["augmented_linear"] < 0.45
    tuned = FewLabels(1.0, epochs=40, batch_size=50, learning_rate=1e-2)
    assert tuned(found, Blobs(), "test")["few_labels@1"] > 0.8


def test_few_labels_are_of_every_class_and_always_the_same() -> None:
    label = torch.tensor([0] * 50 + [1] * 30 + [2] * 3)
    chosen = _some(label, 0.1)
    assert torch.bincount(label[chosen]).tolist() == [5, 3, 1]
    assert torch.equal(chosen, _some(label, 0.1))
    assert torch.equal(_some(label, 1.0), torch.arange(83))


def test_items_without_a_label_are_left_out() -> None:
    index, label = labels(Blobs(unknown=True).items("train"))
    assert torch.equal(index, torch.arange(0, 200, 2))
    assert (label >= 0).all()
    for evaluator in (QUICK, ScoreKNN(k=5)):
        (value,) = evaluator(pipeline(), Blobs(unknown=True), "test").values()
        assert value > 0.8
        with pytest.raises(CrlError, match=r"\blabels\b.*\bitems\b.*\binstance\b"):
            evaluator(pipeline(), Blobs(labelled=False), "test")


def test_a_view_or_a_contrast_that_there_is_not_is_told() -> None:
    with pytest.raises(CrlError, match=r"\bview 'c'.*\ba, b\b"):
        FewLabels(view="c")(pipeline(), Blobs(), "test")
    with pytest.raises(CrlError, match=r"\bcontrast 'quer'.*\bquery\b.*'query'"):
        ScoreKNN(contrast="quer")(pipeline(), Blobs(), "test")
    with pytest.raises(CrlError, match=r"\bfraction\b.*\blabels\b.*\b0\b"):
        FewLabels(0.0)


def test_a_branch_of_several_views_encodes_each_item_once() -> None:
    found = crl.Pipeline(
        Noisy,
        branches={
            "query": crl.Branch(("a", "b"), encoder=nn.Linear(10, 8)),
            "middle": crl.Branch(tap="query", head=crl.Linear(4)),
        },
        contrasts=[crl.Contrast("middle", "middle", loss="info-nce", positive=crl.same("instance") & ~crl.same("row"))],
    )
    batch = Blobs().items("test").__getitems__(list(range(6)))
    assert found.build(batch).encode(batch, "middle").shape == (6, 4)


def table(z: list[list[float]], label: list[int]) -> Embeddings:
    return Embeddings(torch.tensor(z), {"label": torch.tensor(label)})


def test_recall_counts_the_nearest_others_by_direction() -> None:
    # By angle: two of class 0, one of class 1 between, one of class 1 far away, and one alone in its class.
    angles = torch.tensor([0.0, 10.0, 4.0, 90.0, 180.0]).deg2rad()
    z = torch.stack([angles.cos(), angles.sin()], 1) * torch.tensor([1.0, 9.0, 3.0, 0.1, 1.0]).unsqueeze(1)
    test = Embeddings(z, {"label": torch.tensor([0, 0, 1, 1, 2])})
    found = Retrieval([1, 2, 3])(test, test, None)
    # 0 and 1 have item 2 nearest, then each other; 2 has 0, 1, then 3; 3 has 1, 2.
    assert found == {"recall@1": 0.0, "recall@2": 0.75, "recall@3": 1.0}
    assert Retrieval([1])(test, table([[1.0, 0.0], [0.0, 1.0]], [0, 1]), None) == {"recall@1": 0.0}
    assert Retrieval()(test, table([[1.0, 0.0], [0.0, 1.0]], [0, 0]), None)["recall@10"] == 1.0
    with pytest.raises(CrlError, match=r"\bk\b.*\bnumbers\b"):
        Retrieval([])
