"""What is measured: every figure against its definition, and what evaluation must leave alone."""

from __future__ import annotations

import copy
import math
import re
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small import Noisy, Perceptron, PointItems, Points, byol, moco, simclr
from torch import Tensor, nn

import crl_core as crl
from crl_core import CrlError, Embeddings, Evaluation, Pipeline, Training, View
from crl_core.data.geometry import alignment, effective_rank, spread, uniformity
from crl_core.evaluation.embed import embed
from crl_core.evaluation.evaluate import fresh
from crl_core.evaluation.knn import KNN
from crl_core.evaluation.linear import LinearProbe
from crl_core.evaluation.tables import raw


def table(count: int, dim: int, classes: int = 3) -> Embeddings:
    label = torch.randint(classes, (count,))
    return Embeddings(torch.randn(count, dim) + F.one_hot(label, dim), {"label": label})


# -- nearest neighbours ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (5, 0.07), (20, 0.5), (7, 5.0), (1000, 0.2)])
def test_knn_is_the_weighted_vote_of_the_nearest_by_cosine(k: int, temperature: float) -> None:
    train, test = table(60, 6), table(40, 6)
    right = 0
    for query, label in zip(test.z, test.meta["label"].tolist(), strict=True):
        cosine = [float(F.cosine_similarity(query, key, dim=0)) for key in train.z]
        near = sorted(range(60), key=lambda i: -cosine[i])[:k]
        votes = [0.0] * 3
        for i in near:
            votes[int(train.meta["label"][i])] += math.exp(cosine[i] / temperature)
        right += votes.index(max(votes)) == label
    assert KNN(k, temperature)(train, test, None) == {"knn": right / 40}
    assert 0.3 < right / 40 < 1


def test_knn_agrees_with_scikit_learn() -> None:
    from sklearn.neighbors import KNeighborsClassifier

    train, test = table(200, 6), table(1500, 6)  # more than one strip of queries
    # On the unit sphere the nearest by distance are the nearest by cosine, and ‖x - y‖² = 2 - 2 cos.
    reference = KNeighborsClassifier(9, weights=lambda distance: np.exp(-(distance**2) / 2 / 0.3))
    reference.fit(F.normalize(train.z.double(), dim=1).numpy(), train.meta["label"].numpy())
    score = reference.score(F.normalize(test.z.double(), dim=1).numpy(), test.meta["label"].numpy())
    assert KNN(9, 0.3)(train, test, None)["knn"] == pytest.approx(score, abs=1 / 1500)


def test_weights_decide_between_one_near_and_two_farther() -> None:
    train = Embeddings(torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.6, -0.8]]), {"label": torch.tensor([0, 1, 1])})
    test = Embeddings(torch.tensor([[5.0, 0.0]]), {"label": torch.tensor([0])})
    assert KNN(3, temperature=0.1)(train, test, None)["knn"] == 1.0  # e^10 against 2 e^6
    assert KNN(3, temperature=10.0)(train, test, None)["knn"] == 0.0  # e^0.1 against 2 e^0.06


def test_a_low_temperature_leaves_the_nearest_alone() -> None:
    train, test = table(60, 6), table(40, 6)
    assert KNN(20, temperature=1e-3)(train, test, None) == KNN(1)(train, test, None)


def test_a_label_that_training_has_never_seen_is_wrong_and_no_error() -> None:
    train = Embeddings(torch.randn(10, 4), {"label": torch.zeros(10, dtype=torch.int64)})
    test = Embeddings(torch.randn(10, 4), {"label": torch.arange(10)})
    assert KNN()(train, test, None) == {"knn": pytest.approx(0.1)}
    assert LinearProbe()(train, test, None) == {"linear": pytest.approx(0.1)}


@pytest.mark.parametrize(("k", "temperature"), [(0, 0.07), (5, 0.0), (5, math.nan)])
def test_knn_refuses_what_makes_no_sense(k: int, temperature: float) -> None:
    with pytest.raises(CrlError, match=r"\bk\b.*\b1\b.*\btemperature\b.*\b0\b"):
        KNN(k, temperature)


# -- the linear probe --------------------------------------------------------------------------------------------


def test_the_linear_probe_sees_what_a_line_can_separate_and_no_more() -> None:
    x = torch.randn(400, 2)
    line = Embeddings(x * torch.tensor([1e-3, 1e3]), {"label": (x.sum(1) > 0).long()})
    exclusive = Embeddings(x, {"label": ((x[:, 0] > 0) ^ (x[:, 1] > 0)).long()})
    assert LinearProbe()(line, line, None)["linear"] > 0.97, "whatever the scales"
    assert LinearProbe()(exclusive, exclusive, None)["linear"] < 0.65
    assert KNN()(exclusive, exclusive, None)["knn"] > 0.9


# -- geometry ----------------------------------------------------------------------------------------------------


def test_alignment_and_uniformity_are_wang_and_isolas_loops() -> None:
    x, y = torch.randn(2, 25, 7, dtype=torch.float64)
    unit, other = F.normalize(x, dim=1), F.normalize(y, dim=1)
    near = [float((a - b).norm() ** 2) for a, b in zip(unit, other, strict=True)]
    assert float(alignment(x, y)) == pytest.approx(sum(near) / 25)
    assert float(alignment(x, y, power=1.0)) == pytest.approx(sum(math.sqrt(d) for d in near) / 25)
    for t in (2.0, 0.5):
        pairs = [math.exp(-t * float((unit[i] - unit[j]).norm() ** 2)) for i in range(25) for j in range(25) if i != j]
        assert float(uniformity(x, t)) == pytest.approx(math.log(sum(pairs) / len(pairs)))


def test_uniformity_of_many_rows_and_in_float32() -> None:
    x = torch.randn(2500, 16, dtype=torch.float64)  # more than two strips
    distance = torch.pdist(F.normalize(x, dim=1))
    expected = float((-2 * distance.square()).exp().mean().log())
    assert float(uniformity(x)) == pytest.approx(expected, rel=1e-10)
    assert float(uniformity(x.float())) == pytest.approx(expected, rel=1e-4)


def test_uniformity_at_its_ends() -> None:
    assert float(uniformity(torch.ones(50, 8, dtype=torch.float64))) == pytest.approx(0, abs=1e-9)
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    assert float(uniformity(opposite)) == pytest.approx(-8)
    assert -4 < float(uniformity(torch.randn(1000, 256))) < -3.9  # nearly orthogonal: ‖x - y‖² = 2


def test_alignment_of_a_view_with_itself_is_perfect() -> None:
    x = torch.randn(10, 4)
    assert float(alignment(x, 3 * x)) == pytest.approx(0, abs=1e-12)
    assert float(alignment(x, -x)) == pytest.approx(4)


def test_effective_rank_counts_directions() -> None:
    assert float(effective_rank(torch.randn(5000, 12))) == pytest.approx(12, rel=0.01)
    basis = torch.linalg.qr(torch.randn(12, 12))[0]
    assert float(effective_rank(torch.randn(5000, 4) @ basis[:4])) == pytest.approx(4, rel=0.01)
    line = torch.tensor([1.0, -1.0]).repeat(50)[:, None] * torch.randn(6)
    assert float(effective_rank(line)) == pytest.approx(1, abs=1e-3)
    # Its definition (Roy and Vetterli 2007): two singular values in the ratio 3 to 1.
    angle = torch.tensor([0.0, math.pi]).repeat(20)
    rows = torch.stack([angle.cos(), torch.zeros(40), torch.zeros(40)], dim=1)
    rows[:4] = torch.tensor([[0.0, 1, 0], [0, -1, 0]]).repeat(2, 1)
    values = torch.tensor([36.0, 4.0]).sqrt()
    share = values / values.sum()
    assert float(effective_rank(rows)) == pytest.approx(float((-share * share.log()).sum().exp()), rel=1e-5)


def test_spread_is_one_on_the_sphere_and_zero_in_a_point() -> None:
    assert float(spread(torch.randn(5000, 20))) == pytest.approx(1, rel=0.01)
    assert float(spread(torch.ones(50, 20))) == pytest.approx(0, abs=1e-6)
    assert float(spread(torch.ones(50, 20) + 0.01 * torch.randn(50, 20))) < 0.02


# -- evaluate ----------------------------------------------------------------------------------------------------


def trained(pipeline: Pipeline) -> Pipeline:
    training = Training(epochs=10, batch_size=16, optimiser=crl.AdamW(1e-2), schedule=crl.CosineDecay(warmup=1.0))
    return crl.fit(pipeline, Points(), training, accelerator="cpu", devices=1, show=False).pipeline


def test_every_figure_stands_beside_raw_input_and_the_untrained_encoder() -> None:
    found = crl.evaluate(trained(simclr()), Points())
    assert set(found.figures) == {"knn", "linear", "alignment", "uniformity", "effective_rank"}
    for name, splits in found.figures.items():
        assert list(splits) == ["test"], "the first split is for training"
        assert list(splits["test"]) == ["raw", "untrained", "trained"], name
        assert all(math.isfinite(value) for value in splits["test"].values())
    assert found.figures["knn"]["test"]["trained"] > 0.6, "a third is chance"
    assert not found.notes
    lines = str(found).splitlines()
    assert lines[0].split() == ["raw", "untrained", "trained"]
    assert any(line.startswith("knn, test") and len(line.split()) == 5 for line in lines)


def test_raw_is_the_input_and_trained_the_encoder() -> None:
    pipeline = trained(simclr())
    found = crl.evaluate(pipeline, Points(), evaluators=[KNN(3), "effective-rank"])
    items = {split: Points().items(split) for split in ("train", "test")}
    batches = {split: of.__getitems__(list(range(len(of)))) for split, of in items.items()}
    for of, encode in {"raw": lambda view: view.data, "trained": pipeline.encode}.items():
        train, test = (Embeddings(encode(batch), batch.meta) for batch in batches.values())
        assert found.figures["knn"]["test"][of] == KNN(3)(train, test, None)["knn"]
        assert found.figures["effective_rank"]["test"][of] == pytest.approx(float(effective_rank(test.z)), rel=1e-5)


@pytest.mark.parametrize("make", [simclr, moco, byol])
def test_untrained_is_the_same_architecture_with_other_weights(make: Any) -> None:
    pipeline = trained(make())
    notes: list[str] = []
    other = fresh(pipeline, Points(), notes)
    assert other is not None
    assert not notes
    encoder, untrained = (next(iter(p.branches.values())).encoder for p in (pipeline, other))
    assert isinstance(encoder, Perceptron)
    assert isinstance(untrained, Perceptron)
    assert untrained.width == encoder.width
    for one, two in zip(encoder.parameters(), untrained.parameters(), strict=True):
        assert one.shape == two.shape
        if one.dim() > 1:
            assert not torch.allclose(one, two, atol=1e-3)
    assert int(untrained.layers[1].num_batches_tracked) == 0
    found = crl.evaluate(pipeline, Points(), evaluators=["effective-rank"]).figures["effective_rank"]["test"]
    assert found["untrained"] != pytest.approx(found["trained"], rel=1e-3)


def test_untrained_is_the_same_every_time_and_can_be_given() -> None:
    pipeline = trained(simclr())
    torch.manual_seed(1)
    first = crl.evaluate(pipeline, Points())
    torch.manual_seed(2)
    assert crl.evaluate(pipeline, Points()).figures == first.figures
    own = crl.evaluate(pipeline, Points(), untrained=pipeline)
    for splits in own.figures.values():
        assert splits["test"]["untrained"] == splits["test"]["trained"]


class Unregistered(nn.Sequential):
    """An encoder that has no address."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(5, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 8))


def test_untrained_for_parts_without_an_address_is_a_copy_set_back() -> None:
    pipeline = trained(
        Pipeline(Noisy(), encoder=Unregistered(), head=crl.MLP(6), score=crl.Cosine(0.2), loss=crl.InfoNCE())
    )
    before = copy.deepcopy(pipeline.state_dict())
    notes: list[str] = []
    other = fresh(pipeline, Points(), notes)
    assert other is not None
    assert not notes
    for (name, one), two in zip(pipeline.named_parameters(), other.parameters(), strict=True):
        if one.dim() > 1:
            assert not torch.allclose(one, two, atol=1e-3), name
            # torch's own start: uniform within 1/√width.
            assert float(two.detach().abs().max()) <= 1 / math.sqrt(two.shape[1]) + 1e-6
    norm = other.branches["query"].encoder[1]  # type: ignore[index]
    assert torch.equal(norm.running_mean, torch.zeros(16))
    assert all(torch.equal(before[name], value) for name, value in pipeline.state_dict().items())
    assert set(crl.evaluate(pipeline, Points(), evaluators=["knn"]).figures["knn"]["test"]) == {
        "raw", "untrained", "trained",
    }  # fmt: skip


def test_a_part_that_can_t_be_set_back_is_a_note() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(5))

        def forward(self, data: Tensor) -> Tensor:
            return data * self.scale

    pipeline = Pipeline(Noisy(), encoder=Scaled(), score=crl.Cosine(), loss=crl.InfoNCE())
    found = crl.evaluate(pipeline, Points(), evaluators=["knn"])
    assert set(found.figures["knn"]["test"]) == {"raw", "trained"}
    assert found.notes == ["no untrained figures: branches.query.encoder (Scaled) has no reset_parameters"]
    assert "—" in str(found)
    assert "note: no untrained figures" in str(found)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("make", [simclr, moco, byol])
def test_evaluation_changes_nothing(make: Any, training: bool) -> None:
    pipeline = trained(make()).train(training)
    before = copy.deepcopy(pipeline.state_dict())
    state = torch.get_rng_state()
    steps = pipeline.steps
    crl.evaluate(pipeline, Points())
    embed(pipeline, Points().items("test"))
    assert torch.equal(state, torch.get_rng_state())
    assert pipeline.training == training
    assert all(module.training == training for module in pipeline.modules())
    assert pipeline.steps == steps
    after = pipeline.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], value) for name, value in after.items())
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in pipeline.parameters())


class Partly(Points):
    """Points of which some have no label (-1)."""

    def __init__(self, train: int = 6, test: int = 5) -> None:
        super().__init__()
        self.train, self.test = train, test

    def items(self, split: str) -> PointItems:
        found = super().items(split)
        found.columns["label"] = found.columns["label"].clone()
        found.columns["label"][: self.train if split == "train" else self.test] = -1
        return found


def test_items_without_a_label_are_left_out_with_a_note() -> None:
    pipeline = trained(simclr())
    found = crl.evaluate(pipeline, Partly(), evaluators=[KNN(3), "effective-rank"])
    assert [re.findall(r"\d+", note) for note in found.notes] == [["6", "48"], ["5", "30"]]
    assert all("label" in note for note in found.notes)
    batches = {split: Partly().items(split).__getitems__(list(range(n))) for split, n in (("train", 48), ("test", 30))}
    known = [
        Embeddings(b.data[b.meta["label"] >= 0], {"label": b.meta["label"][b.meta["label"] >= 0]})
        for b in batches.values()
    ]
    assert found.figures["knn"]["test"]["raw"] == KNN(3)(*known, None)["knn"]
    everything = float(effective_rank(batches["test"].data))
    assert found.figures["effective_rank"]["test"]["raw"] == pytest.approx(everything, rel=1e-5), "needs no label"


def test_no_labels_at_all_is_a_note_and_the_other_figures_stand() -> None:
    pipeline = trained(simclr())
    found = crl.evaluate(pipeline, Points(labels=False))
    assert set(found.figures) == {"alignment", "uniformity", "effective_rank"}
    for note, name in zip(found.notes, ("KNN", "LinearProbe"), strict=True):
        assert re.search(rf"^{name}\b.*'label'", note)
    found = crl.evaluate(pipeline, Partly(48, 30))
    assert set(found.figures) == {"alignment", "uniformity", "effective_rank"}
    assert len(found.notes) == 2


def test_items_that_can_t_be_used_are_left_out_here_too() -> None:
    found = crl.evaluate(trained(simclr()), Points(broken=3), evaluators=["knn"])
    assert found.figures["knn"]["test"]["trained"] > 0.6
    with pytest.raises(CrlError, match=r"\b48 items\b.*\blog\b"):
        crl.evaluate(simclr(), Points(broken=48), evaluators=["knn"])


def test_a_source_with_nothing_to_test_on_is_a_note() -> None:
    class Alone(Points):
        splits: ClassVar[tuple[str, ...]] = ("train",)

    found = crl.evaluate(simclr(), Alone())
    assert found == Evaluation({}, ["the source has one split, 'train', and nothing to test on"])


class Tables:
    """Items whose data are no tensor."""

    splits = ("train", "test")

    def items(self, split: str) -> Any:
        items = Points().items(split)

        class Wrapped:
            def __len__(self) -> int:
                return len(items)

            def __getitems__(self, indices: list[int]) -> View:
                batch = items.__getitems__(indices)
                return View({"points": batch.data}, batch.meta)

        return Wrapped()


class Unpacked:
    views = ("a", "b")

    def __call__(self, batch: View) -> dict[str, View]:
        return {"a": batch, "b": batch}

    def clean(self, batch: View) -> View:
        return batch


class OfTables(Unregistered):
    def forward(self, data: dict[str, Tensor]) -> Tensor:  # type: ignore[override]
        return super().forward(data["points"])


def test_data_that_are_no_table_of_numbers_have_no_raw_figures() -> None:
    part = {"score": crl.Cosine(), "loss": crl.InfoNCE()}
    branches = {"query": crl.Branch("a", encoder=OfTables()), "key": crl.Branch("b", tracks="query")}
    pipeline = Pipeline(Unpacked(), branches=branches, contrasts=[crl.Contrast("query", "key", **part)])
    found = crl.evaluate(pipeline, Tables(), evaluators=["knn"])
    assert set(found.figures["knn"]["test"]) == {"untrained", "trained"}
    (note,) = found.notes
    assert re.search(r"\braw\b.*\bdict\b", note)


def test_views_are_drawn_the_same_for_all_three() -> None:
    found = crl.evaluate(trained(simclr()), Points(), evaluators=["alignment-uniformity"])
    batch = Points().items("test").__getitems__(list(range(30)))
    torch.manual_seed(0)
    drawn = Noisy()(batch)
    expected = float(alignment(drawn["a"].data, drawn["b"].data))
    assert found.figures["alignment"]["test"]["raw"] == pytest.approx(expected, rel=1e-5)


def test_evaluators_by_name_class_or_instance_and_a_near_miss() -> None:
    pipeline = simclr()
    for evaluator in ("knn", "core/knn", KNN, KNN(20)):
        assert "knn" in crl.evaluate(pipeline, Points(), evaluators=[evaluator]).figures
    with pytest.raises(CrlError, match=r"\bevaluator\b.*'knnn'.*'knn'"):
        crl.evaluate(pipeline, Points(), evaluators=["knnn"])
    with pytest.raises(CrlError, match=r"\bbranch 'qury'.*'query'"):
        crl.evaluate(pipeline, Points(), evaluators=["knn"], branch="qury")


def test_another_branch_can_be_measured() -> None:
    pipeline = trained(moco())
    found, other = (
        crl.evaluate(pipeline, Points(), evaluators=["effective-rank"], branch=branch).figures["effective_rank"]["test"]
        for branch in ("query", "key")
    )
    assert found["raw"] == other["raw"]
    assert found["trained"] != other["trained"]


def test_embed_is_encode_in_order_whatever_the_batches() -> None:
    pipeline = trained(simclr())
    items = Points().items("test")
    whole = pipeline.encode(items.__getitems__(list(range(30))))
    for size in (512, 7, 1):
        found = embed(pipeline, items, batch_size=size)
        torch.testing.assert_close(found.z, whole)
        assert found.meta["instance"].tolist() == list(range(30))
        assert torch.equal(found.meta["label"], items.columns["label"])


def test_raw_flattens_whatever_is_a_tensor() -> None:
    assert raw(View(torch.zeros(4, 3, 2, dtype=torch.uint8))).shape == (4, 6)
    with pytest.raises(CrlError, match=r"\braw\b.*\bdict\b"):
        raw(View({"x": torch.zeros(4)}, {"instance": torch.arange(4)}))


# -- evaluators of pipelines ---------------------------------------------------------------------------------------


class Losses:
    """The mean loss of the items of the split, which no table of representations tells."""

    needs: ClassVar[tuple[str, ...]] = ()
    takes: ClassVar[str] = "pipeline"

    def __call__(self, pipeline: Pipeline, source: crl.Source, split: str) -> dict[str, float]:
        assert not pipeline.training
        items = source.items(split)
        return {"loss": float(pipeline.loss(items.__getitems__(list(range(len(items))))).total)}


def test_an_evaluator_of_pipelines_is_asked_of_the_untrained_and_the_trained() -> None:
    pipeline = trained(simclr())
    found = crl.evaluate(pipeline, Points(), evaluators=[Losses()]).figures["loss"]["test"]
    assert set(found) == {"untrained", "trained"}
    assert found["trained"] < found["untrained"]
    assert crl.evaluate(pipeline, Points(), evaluators=[Losses()]).figures["loss"]["test"] == found, "the same draws"
    both = crl.evaluate(pipeline, Points(), evaluators=[Losses(), KNN(3)])
    assert both.figures["loss"]["test"] == found
    assert set(both.figures["knn"]["test"]) == {"raw", "untrained", "trained"}


@pytest.mark.parametrize("training", [True, False])
def test_an_evaluator_of_pipelines_changes_neither_the_mode_nor_the_generators(training: bool) -> None:
    pipeline = trained(simclr()).train(training)
    state = torch.get_rng_state()
    crl.evaluate(pipeline, Points(), evaluators=[Losses()])
    assert torch.equal(state, torch.get_rng_state())
    assert pipeline.training is training


def test_a_source_names_the_evaluators_that_suit_it() -> None:
    class Asked(Points):
        evaluators = ("effective-rank",)

    assert set(crl.evaluate(simclr(), Asked()).figures) == {"effective_rank"}
    assert set(crl.evaluate(simclr(), Asked(), evaluators=["knn"]).figures) == {"knn"}
