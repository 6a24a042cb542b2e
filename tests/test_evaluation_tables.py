"""What evaluation reads, keeps and hands out: every item once, nothing that nobody asks for, samples that say so."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from small import Noisy, Perceptron, PointItems, Points, moco, simclr
from torch import Tensor, nn

import crl_core as crl
from crl_core import Embeddings, Pipeline, View
from crl_core.evaluation import knn, logistic, tables
from crl_core.evaluation.embed import embed
from crl_core.evaluation.evaluate import evaluate
from crl_core.evaluation.logistic import LogisticRegression
from crl_core.evaluation.score_knn import ScoreKNN
from crl_core.evaluation.tables import Look, batches, in_chunks

CPU = torch.device("cpu")


class Counted(Points):
    """Points that count how often each is read, and how many at a time."""

    def __init__(self, count: int = 48, unknown: int = 0) -> None:
        super().__init__(count)
        self.unknown = unknown
        self.read: dict[str, Counter[int]] = {split: Counter() for split in self.splits}
        self.sizes: list[int] = []

    def items(self, split: str) -> PointItems:
        found = super().items(split)
        found.columns["label"] = torch.where(torch.arange(len(found)) < self.unknown, -1, found.columns["label"])
        inner, source = found.__getitems__, self

        class Items(PointItems):
            def __init__(self) -> None:
                pass

            def __len__(self) -> int:
                return len(found)

            def __getitems__(self, indices: list[int]) -> View:
                source.read[split].update(indices)
                source.sizes.append(len(indices))
                return inner(indices)

        return Items()

    def once(self, split: str) -> bool:
        return self.read[split] == Counter(range(self.count if split == "train" else 30))


class Draws(Noisy):
    """Counts the items of which it draws views."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[int] = []

    def __call__(self, batch: View) -> dict[str, View]:
        self.drawn.append(len(batch))
        return super().__call__(batch)


def built(sampler: Any = None) -> Pipeline:
    torch.manual_seed(0)
    made = Pipeline(sampler or Noisy(), encoder=Perceptron(), head=crl.MLP(6), score=crl.Cosine(0.2), loss="info-nce")
    return made.build(Points().items("train").__getitems__(list(range(8)))).eval()


# -- what is read and drawn ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [simclr, moco])
@pytest.mark.parametrize("count", [48, 700])
def test_every_item_is_read_once_for_raw_untrained_and_trained(make: Any, count: int) -> None:
    source = Counted(count, unknown=5)
    found = evaluate(make(), source)
    assert set(found.figures["knn"]["test"]) == {"raw", "untrained", "trained"}
    assert source.once("train")
    assert source.once("test")


def test_what_no_evaluator_looks_at_is_neither_read_nor_drawn() -> None:
    for evaluators, trained, drawn in (
        (["knn", "linear"], True, []),
        (["effective-rank", "retrieval"], False, []),
        (["alignment-uniformity"], False, [30]),
    ):
        source, sampler = Counted(), Draws()
        pipeline = built(sampler)
        sampler.drawn.clear()
        evaluate(pipeline, source, evaluators=evaluators, untrained=built())
        assert source.once("test")
        assert bool(source.read["train"]) == trained
        assert sampler.drawn == drawn


def test_views_are_drawn_once_for_all_three() -> None:
    sampler = Draws()
    pipeline = built(sampler)
    sampler.drawn.clear()
    found = evaluate(pipeline, Points(), evaluators=["alignment-uniformity"], untrained=built())
    assert set(found.figures["alignment"]["test"]) == {"raw", "untrained", "trained"}
    assert sampler.drawn == [30]


class Seen:
    """An evaluator that keeps what it is given."""

    needs: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        self.given: list[tuple[Any, ...]] = []

    def __call__(self, *given: Any) -> dict[str, float]:
        self.given.append(given)
        return {"seen": float(len(self.given))}


def test_an_evaluator_that_says_nothing_is_given_all_three_tables_as_in_0_2_0() -> None:
    seen = Seen()
    found = evaluate(built(), Points(), evaluators=[seen])
    assert [len(each) for train, test, _ in seen.given for each in (train, test)] == [48, 30] * 3
    assert [view.shape for _, _, views in seen.given for view in views] == [(30, 5)] * 2 + [(30, 8)] * 4
    assert all(train.z.dtype == torch.float32 and "label" in train.meta for train, _, _ in seen.given)
    assert found.samples == {}


def test_what_an_evaluator_does_not_name_is_none() -> None:
    class Views(Seen):
        tables: ClassVar[tuple[str, ...]] = ("views",)

    class Training(Seen):
        tables: ClassVar[tuple[str, ...]] = ("train",)

    views, training = Views(), Training()
    evaluate(built(), Points(), evaluators=[views, training])
    assert all(train is None and test is None and two is not None for train, test, two in views.given)
    assert all(len(train) == 48 and test is None and two is None for train, test, two in training.given)


# -- samples ---------------------------------------------------------------------------------------------------------


def test_raw_data_are_kept_of_a_sample_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline, whole = built(), Seen()
    before = evaluate(pipeline, Points(), evaluators=["knn", "effective-rank", whole])
    monkeypatch.setitem(tables.RAW, "train", 5 * 20)
    monkeypatch.setitem(tables.RAW, "test", 5 * 12 + 4)
    seen = Seen()
    found = evaluate(pipeline, Points(), evaluators=["knn", "effective-rank", seen])
    (train, test, views), *others = seen.given
    assert (len(train), len(test), len(views[0]), len(views[1])) == (20, 12, 12, 12)
    assert [len(each) for given in others for each in given[:2]] == [48, 30] * 2
    # The rows are those of the items that their columns name, and the views go with them.
    for table, split in ((train, "train"), (test, "test")):
        assert torch.equal(table.z, Points().items(split).data[table.meta["instance"]])
    rows = test.meta["instance"]
    assert torch.equal(views[0], whole.given[0][2][0][rows])
    assert rows.tolist() != list(range(12)), "at random"
    for name in ("knn", "effective_rank"):
        for of in ("untrained", "trained"):
            assert found.figures[name]["test"][of] == before.figures[name]["test"][of]
    assert found.figures["knn"]["test"]["raw"] == crl.KNN()(train, test, None)["knn"]
    assert found.samples["knn"] == {"test": {"raw": {"train": 20, "test": 12}}}
    assert found.samples["effective_rank"] == {"test": {"raw": {"test": 12}}}
    assert any("KNN" in note and "20 of 48" in note and "12 of 30" in note for note in found.notes)
    row = next(line for line in str(found).splitlines() if line.startswith("knn, test")).split()
    assert [cell.endswith("*") for cell in row[2:]] == [True, False, False]
    assert not before.samples
    assert "*" not in str(before)
    assert evaluate(pipeline, Points(), evaluators=["knn", "effective-rank"]).figures["knn"] == found.figures["knn"]


def test_a_sample_of_an_evaluator_is_the_same_for_all_and_has_its_views() -> None:
    class Few(Seen):
        sample: ClassVar[int] = 10

    few, fewer, sampler = Few(), Few(), Draws()
    fewer.sample = 4  # type: ignore[misc]
    pipeline = built(sampler)
    sampler.drawn.clear()
    found = evaluate(pipeline, Points(), evaluators=[few, fewer], untrained=built())
    assert sampler.drawn == [10], "views of the sample alone"
    for (train, test, views), (_, less, its) in zip(few.given, fewer.given, strict=True):
        assert (len(train), len(test), len(views[0])) == (10, 10, 10)
        assert test.meta["instance"].tolist() == few.given[0][1].meta["instance"].tolist()
        at = [test.meta["instance"].tolist().index(item) for item in less.meta["instance"].tolist()]
        assert torch.equal(its[0], views[0][at])
        assert torch.equal(less.z, test.z[at])
    raw, views = few.given[0][1], few.given[0][2]
    assert float((views[0] - raw.z).abs().max()) < 2, "of the same items: noise of 0.3, and centres that are 3 apart"
    assert found.samples["seen"]["test"]["trained"] == {"train": 4, "test": 4}
    assert len(found.notes) == 6
    assert all("10 of 30" in note or "4 of 30" in note for note in found.notes)


def test_uniformity_is_of_a_sample_of_many_items(monkeypatch: pytest.MonkeyPatch) -> None:
    from crl_core.evaluation.shape import AlignmentUniformity

    monkeypatch.setattr(AlignmentUniformity, "sample", 20)
    found = evaluate(built(), Points(), evaluators=["alignment-uniformity", "knn"])
    assert found.samples["uniformity"]["test"]["trained"] == found.samples["alignment"]["test"]["raw"] == {"test": 20}
    assert "knn" not in found.samples


# -- how much at a time ----------------------------------------------------------------------------------------------


def test_large_items_are_read_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Counted(700)
    small = [len(batch) for batch in batches(source.items("train"), 512, CPU)]
    assert small == [512, 188], "the same batches as ever: views are drawn by batch"
    for kept, sizes in ((40 * 20, [40] * 17 + [20]), (7 * 20, [32] + [7] * 95 + [3])):
        monkeypatch.setattr(tables, "_BATCH", kept)
        source = Counted(700)
        found = list(batches(source.items("train"), 512, CPU))
        assert [len(batch) for batch in found] == sizes
        assert torch.cat([batch.meta["instance"] for batch in found]).tolist() == list(range(700))
        assert source.once("train")


def test_broken_items_and_data_that_can_not_be_joined_are_read_too() -> None:
    found = list(batches(Points(100, broken=40).items("train"), 512, CPU))
    assert torch.cat([batch.meta["instance"] for batch in found]).tolist() == list(range(40, 100))

    class Opaque:
        pass

    class Items:
        def __len__(self) -> int:
            return 100

        def __getitems__(self, indices: list[int]) -> View:
            return View(Opaque(), {"instance": torch.tensor(indices)})

    parts = list(batches(Items(), 64, CPU))
    assert [len(batch) for batch in parts] == [32, 32, 36]


def test_an_encoder_is_given_few_rows_of_large_items(monkeypatch: pytest.MonkeyPatch) -> None:
    class Watched(Perceptron):
        most = 0

        def forward(self, data: Tensor) -> Tensor:
            Watched.most = max(Watched.most, len(data))
            return super().forward(data)

    pipeline = Pipeline(Noisy(), encoder=Watched(), score=crl.Cosine(0.2), loss="info-nce").eval()
    whole = evaluate(pipeline, Points(200), evaluators=["effective-rank", "knn"], untrained=pipeline)
    assert Watched.most == 200
    monkeypatch.setattr(tables, "_ENCODED", 5 * 30)
    for chunk, most in ((None, 30), (12, 12)):
        Watched.most = 0
        found = evaluate(pipeline, Points(200), evaluators=["effective-rank", "knn"], untrained=pipeline, chunk=chunk)
        assert Watched.most == most
        for name, splits in whole.figures.items():
            assert found.figures[name]["test"] == pytest.approx(splits["test"], rel=1e-5)
        assert embed(pipeline, Points(200).items("train")).z.shape == (200, 8)


def test_tokens_are_cut_by_rows_and_names_of_nodes_are_not() -> None:
    tokens = {"a": View({"ids": torch.zeros(50, 9, dtype=torch.int64)}, {"instance": torch.arange(50)})}
    assert [len(part["a"]) for part in in_chunks(tokens, "a", 20)] == [20, 20, 10]
    assert [len(part["a"]) for part in in_chunks(tokens, "a")] == [50]
    nodes = {"a": View(torch.arange(50), {"instance": torch.arange(50)})}
    assert [len(part["a"]) for part in in_chunks(nodes, "a", 20)] == [50]


def test_rows_of_different_lengths_have_no_raw_figures() -> None:
    data = torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(4, 3)], layout=torch.jagged)
    with pytest.raises(crl.CrlError, match=r"\braw\b.*\blengths\b"):
        tables.raw(View(data))


class Frames(nn.Module):
    """Points to frames `[N, L, 4]`, of which the first so many are there; L changes from batch to batch."""

    def forward(self, data: Tensor) -> Embeddings:
        count = 1 + (data[:, 0].abs() * 10).long() % 4
        length = int(count.max()) + len(data) % 3
        valid = torch.arange(length) < count.unsqueeze(1)
        z = torch.where(valid.unsqueeze(-1), data[:, None, :4] * (1 + torch.arange(length)[None, :, None]), torch.nan)
        return Embeddings(z, {"valid": valid})


def test_frames_are_averaged_batch_by_batch() -> None:
    pipeline = Pipeline(Noisy(), encoder=Frames(), score=crl.Cosine(0.2), loss="info-nce")
    seen = Seen()
    found = evaluate(pipeline, Points(70), evaluators=[seen, "knn", "linear"], untrained=pipeline, batch_size=33)
    assert not found.notes
    for train, test, views in seen.given[1:]:
        assert (train.z.shape, test.z.shape, views[0].shape) == ((70, 4), (30, 4), (30, 4))
        assert train.z.isfinite().all()
    data = Points(70).items("train").data
    count = 1 + (data[:, 0].abs() * 10).long() % 4
    torch.testing.assert_close(seen.given[1][0].z, data[:, :4] * ((1 + count) / 2).unsqueeze(1))


PEAK = """
import resource, torch
from torch import nn
import crl_core as crl
from crl_core import Pipeline, View
from crl_core.evaluation import tables

class Items:
    def __init__(self, count): self.count = count
    def __len__(self): return self.count
    def __getitems__(self, indices):
        index = torch.tensor(indices)
        base = torch.arange(3 * 96 * 96).remainder(97).view(1, 3, 96, 96) / 97
        data = base * (1 + index % 10)[:, None, None, None] + torch.rand(len(index), 3, 1, 1)
        return View(data, {"instance": index, "label": index % 10})

class Source:
    splits = ("train", "test")
    def items(self, split): return Items(COUNT if split == "train" else COUNT // 4)

class Twice:
    views = ("a", "b")
    def __call__(self, batch): return {"a": batch, "b": batch}
    def clean(self, batch): return batch

tables.RAW.update(train=10_000_000, test=2_000_000)
encoder = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 32))
pipeline = Pipeline(Twice(), encoder=encoder, score=crl.Cosine(0.2), loss="info-nce")
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
crl.evaluate(pipeline, Source()) if COUNT < 1000 else None
crl.evaluate(pipeline, Source())
print(peak())
"""


def test_the_peak_does_not_grow_with_the_items() -> None:
    """6,000 items of 110 kB would be a table of 660 MB, and their copies: of 600 of them the peak is about the same."""

    def peak(count: int) -> float:
        command = [sys.executable, "-c", PEAK.replace("COUNT", str(count))]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])

    small, large = peak(900), peak(6000)
    assert large < small + 150, "megabytes"


# -- evaluators ------------------------------------------------------------------------------------------------------


def clusters(count: int, classes: int, width: int, seed: int, spread: float = 1.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(count) % classes
    means = torch.randn(classes, width, generator=torch.Generator().manual_seed(99))
    mixed = torch.randn(width, width, generator=torch.Generator().manual_seed(98))
    z = (torch.randn(count, width, generator=generator) * spread + means[label]) @ mixed
    z[:, 0] = 7.3  # never varies
    return z, label


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("width", [8, 400])
def test_the_linear_probe_is_scikit_learns_logistic_regression(
    classes: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sklearn.linear_model import LogisticRegression as Reference
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    (z, label), (other, its) = (clusters(count, classes, width, count, 0.6 * width**0.5) for count in (600, 300))
    reference = make_pipeline(StandardScaler(), Reference(C=0.5, max_iter=40)).fit(z.numpy(), label.numpy())
    score = reference.score(other.numpy(), its.numpy())
    train, test = Embeddings(z, {"label": label}), Embeddings(other, {"label": its})
    assert crl.LinearProbe(0.5, 40)(train, test, None)["linear"] == pytest.approx(score, abs=1.5 / 300)
    assert 1.2 / classes < score < 1
    ours = LogisticRegression(z, label, classes, 0.5, 40)
    theirs = torch.from_numpy(reference[-1].coef_)
    torch.testing.assert_close(ours.weight[:, :-1].double(), theirs.double(), rtol=5e-3, atol=5e-3)
    # On a device torch multiplies, and large tables are standardised in chunks: the sums have another order.
    monkeypatch.setattr(logistic, "_product", torch.matmul)
    monkeypatch.setattr(logistic, "_KEPT", 0)
    monkeypatch.setattr(logistic, "_CHUNK", 64 * width)
    parts = LogisticRegression(z, label, classes, 0.5, 40)
    torch.testing.assert_close(parts.weight, ours.weight, rtol=2e-2, atol=2e-2)
    assert float((parts.predict(other) == ours.predict(other)).float().mean()) > 0.99


def test_labels_need_not_be_numbered_from_0() -> None:
    z, label = clusters(300, 3, 8, 1)
    table = Embeddings(z, {"label": torch.tensor([4, 9, 17])[label]})
    test = Embeddings(z, {"label": torch.tensor([4, 9, 18])[label]})
    right = crl.LinearProbe()(table, table, None)["linear"]
    assert right > 0.5
    assert crl.LinearProbe()(table, test, None)["linear"] < right - 0.1, "18 is no class that was learned"


@pytest.mark.parametrize("evaluator", ["knn", "retrieval"])
def test_strips_change_no_figure(evaluator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (z, label), (other, its) = (clusters(count, 5, 16, count) for count in (200, 100))
    given = Embeddings(z, {"label": label}), Embeddings(other, {"label": its}), None
    made = crl.make("evaluator", evaluator)
    whole = made(*given)
    for module in (knn, sys.modules[type(made).__module__]):
        monkeypatch.setattr(module, "strip", lambda keys: 7)
    assert made(*given) == whole
    assert knn.strip(10_000_000) == 7


def test_strips_are_of_64_megabytes_at_most() -> None:
    assert [knn.strip(keys) for keys in (1, 16_384, 1 << 20, 1 << 25)] == [1024, 1024, 16, 1]


def test_the_score_of_many_keys_is_ranked_batch_by_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline, source = built(), Points(1200)
    found = ScoreKNN(k=5)(pipeline, source, "test")
    parts = {split: source.items(split).__getitems__(list(range(len(source.items(split))))) for split in source.splits}
    with torch.no_grad():
        z = {split: pipeline.embed(pipeline.clean(batch))["query"].z for split, batch in parts.items()}
        near = pipeline.contrasts[0].score(z["test"], z["train"]).topk(5, dim=1).indices
    vote = parts["train"].meta["label"][near].mode(1).values
    assert found == {"score_knn": pytest.approx(float((vote == parts["test"].meta["label"]).double().mean()))}


def test_a_table_is_there_once_and_grows_if_it_has_to() -> None:
    table = tables.Growing(10)
    table.add(torch.ones(4, 3))
    start = table.z.data_ptr()
    table.add(torch.zeros(6, 3))
    assert table.z.data_ptr() == start
    table.add(torch.full((5, 3), 2.0))
    assert table.rows[:, 0].tolist() == [1.0] * 4 + [0.0] * 6 + [2.0] * 5


def test_representations_of_half_precision_are_kept_in_float32() -> None:
    class Half(Perceptron):
        def forward(self, data: Tensor) -> Tensor:
            return super().forward(data).bfloat16()

    pipeline = Pipeline(Noisy(), encoder=Half(), score=crl.Cosine(0.2), loss="info-nce")
    look = Look(pipeline, {"trained": pipeline}, None, 512, None)
    seen = look.at(Points().items("test"), 1000, 0, [])
    assert {name: each.table.z.dtype for name, each in seen.items()} == dict.fromkeys(("raw", "trained"), torch.float32)
    assert F.normalize(seen["trained"].table.z, dim=1).isfinite().all()
