"""Is it healthy, and why: on batches whose answers can be worked out by hand."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from small import Noisy, Perceptron, byol, moco, points, simclr
from torch import Tensor, nn

import crl_core as crl
from crl_core import Branch, Contrast, CrlError, Embeddings, Pipeline, View, same
from crl_core.data.pairs import Pairs
from crl_core.look.diagnosis import health

METHODS: list[Callable[[], Pipeline]] = [simclr, moco, byol]


class AsTheyAre(Noisy):
    """Both views are the item itself."""

    def __call__(self, batch: View) -> dict[str, View]:
        return {"a": batch, "b": batch}


class Given(Noisy):
    """Views that are halves of the data, to set scores by hand."""

    def __call__(self, batch: View) -> dict[str, View]:
        return {"a": View(batch.data[:, 0], batch.meta), "b": View(batch.data[:, 1], batch.meta)}

    def clean(self, batch: View) -> View:
        return View(batch.data[:, 0], batch.meta)


def by_hand(**options: Any) -> Pipeline:
    """Queries and keys as they are given, scored by their dot product."""
    return Pipeline(
        Given(),
        branches={"query": Branch("a", encoder=nn.Identity()), "key": Branch("b", encoder=nn.Identity())},
        contrasts=[Contrast("query", "key", loss=crl.InfoNCE(), **options)],
    )


def step(pipeline: Pipeline, batch: View) -> None:
    pipeline.loss(batch)
    pipeline.on_step()


# -- diagnose ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", METHODS)
def test_a_healthy_pipeline_has_no_warnings(make: Callable[[], Pipeline]) -> None:
    batch = points(64)
    pipeline = make().build(batch)
    optimiser = torch.optim.AdamW((p for p in pipeline.parameters() if p.requires_grad), 1e-2)
    for _ in range(60):
        pipeline.loss(batch).total.backward()
        optimiser.step()
        optimiser.zero_grad()
        pipeline.on_step()
    found = pipeline.diagnose(batch)
    assert found.warnings == []
    name = pipeline.contrasts[0].name
    assert found.figures[f"{name}/spread"] > 0.3
    assert found.figures[f"{name}/effective rank"] > 3
    assert str(found).endswith("warning: none")
    assert f"{name}/spread" in str(found)


def test_the_figures_of_simclr_are_those_of_the_paper() -> None:
    found = simclr().build(points(32)).diagnose(points(32)).figures
    assert found["query/negatives per query"] == 62, "2 (N - 1)"
    assert found["query/loss of a blind guess"] == pytest.approx(math.log(63))
    assert found["query/queries without positives"] == 0
    assert found["query/duplicate keys"] == 0


def test_a_queue_is_counted_and_a_copy_starts_without_drift() -> None:
    batch = points(16)
    pipeline = moco(size=40).build(batch)
    before = pipeline.diagnose(batch)
    assert before.figures["key/drift"] == 0
    assert "query-key/remembered keys" not in before.figures
    assert before.figures["query-key/negatives per query"] == 0
    assert any(re.search(r"^query-key\b.*\bnegative\b", text) for text in before.warnings)
    step(pipeline, points(16))
    assert pipeline.diagnose(batch).figures["query-key/remembered keys"] == 16
    for _ in range(3):
        step(pipeline, View(torch.randn(16, 5), {"instance": torch.arange(16) + 100}))
    after = pipeline.diagnose(batch)
    assert after.figures["query-key/remembered keys"] == 40
    assert after.figures["query-key/negatives per query"] == 40, "not the batch's own keys"
    assert after.figures["query-key/loss of a blind guess"] == pytest.approx(math.log(41))
    with torch.no_grad():
        for parameter in pipeline.branches["query"].encoder.parameters():  # type: ignore[union-attr]
            parameter.mul_(1.5)
    assert pipeline.diagnose(batch).figures["key/drift"] == pytest.approx(1 / 3), "‖1.5 w - w‖ / ‖1.5 w‖"


def test_the_rank_of_the_positive_is_counted() -> None:
    query = torch.eye(3)
    # Query 0 likes its own key best; query 1 likes one other key better; query 2 both others.
    scores = torch.tensor([[5.0, 1.0, 1.0], [1.0, 2.0, 3.0], [4.0, 5.0, 1.0]])
    batch = View(torch.stack([query, scores.T], dim=1), {"instance": torch.arange(3)})
    found = by_hand().diagnose(batch).figures
    assert found["query-key/negatives per query"] == 2
    assert found["query-key/negatives above the positive"] == pytest.approx((0 + 1 + 2) / 3)


def test_the_blind_guess_is_the_loss_of_a_pipeline_that_tells_nothing_apart() -> None:
    batch = View(torch.ones(7, 2, 4), {"instance": torch.arange(7)})
    pipeline = by_hand()
    assert pipeline.diagnose(batch).figures["query-key/loss of a blind guess"] == pytest.approx(
        float(pipeline.loss(batch).total)
    )


def test_queries_without_a_positive_are_counted() -> None:
    label = torch.tensor([0, 0, 1, 2])
    pipeline = by_hand(positive=same("label") & ~same("instance"), negative=~same("label"))
    found = pipeline.diagnose(View(torch.randn(4, 2, 5), {"instance": torch.arange(4), "label": label}))
    assert found.figures["query-key/queries without positives"] == 0.5
    assert not [text for text in found.warnings if "positive" in text]


def test_no_positives_at_all_is_told_with_the_relation() -> None:
    pipeline = by_hand(positive=same("label") & ~same("instance"), negative=~same("label"))
    found = pipeline.diagnose(View(torch.randn(4, 2, 5), {"instance": torch.arange(4), "label": torch.arange(4)}))
    relation = re.escape('same("label") & ~same("instance")')
    assert any(re.search(rf"^query-key\b.*\bpositive\b.*{relation}", text) for text in found.warnings)
    assert found.figures["query-key/queries without positives"] == 1


def test_no_negatives_at_all_is_told() -> None:
    pipeline = by_hand(positive=same("instance"), negative=same("label") & ~same("label"))
    batch = View(torch.randn(4, 2, 5), {"instance": torch.arange(4), "label": torch.arange(4)})
    assert any(re.search(r"^query-key\b.*\bnegative\b.*\bsame\(", text) for text in pipeline.diagnose(batch).warnings)


class Point(Perceptron):
    def forward(self, data: Tensor) -> Tensor:
        return 1e-3 * super().forward(data) + 1.0


class Plane(Perceptron):
    """All representations in two of the dimensions."""

    def forward(self, data: Tensor) -> Tensor:
        out = super().forward(data)
        return torch.cat([data[:, :2], 0 * out[:, 2:]], dim=1)


@pytest.mark.parametrize(
    ("encoder", "said"),
    [
        (Point, r"\bquery\b.*\bspread\b.*\b0\.0\d\d\b.*\b1\b"),
        (Plane, r"\bquery\b.*\b[12]\.\d of 16\b"),
    ],
)
def test_collapse_is_told(encoder: type[Perceptron], said: str) -> None:
    pipeline = Pipeline(Noisy(), encoder=encoder(16), score=crl.Cosine(), loss=crl.InfoNCE())
    found = pipeline.build(points(32)).diagnose(points(32))
    assert len(found.warnings) == 1
    assert re.search(said, found.warnings[0])
    assert found.warnings[0] in str(found)


def test_duplicates_among_the_keys_are_told() -> None:
    batch = points(32)
    pipeline = simclr()
    pipeline.sampler = AsTheyAre()
    found = pipeline.build(batch).diagnose(batch)
    assert found.figures["query/duplicate keys"] == 0.5
    assert any(re.search(r"\b50% of the keys\b.*\bnegatives\b", text) for text in found.warnings)
    twice = View(torch.cat([batch.data, batch.data[:3]]), {"instance": torch.arange(35)})
    pipeline.sampler = Noisy()
    assert not pipeline.diagnose(twice).warnings, "noise makes them different"


def test_every_contrast_is_looked_at() -> None:
    part: dict[str, Any] = dict(loss=crl.InfoNCE(), score=crl.Cosine())
    pipeline = Pipeline(
        Noisy(),
        branches={"query": Branch("a", encoder=Perceptron()), "key": Branch("b", encoder=Point())},
        contrasts=[Contrast("query", "key", **part), Contrast("key", "query", **part)],
    ).build(points(16))
    found = pipeline.diagnose(points(16))
    assert {name.partition("/")[0] for name in found.figures} == {"query-key", "key-query"}
    assert [text.partition(":")[0] for text in found.warnings] == ["key-query"], "the queries of this one are a point"


def test_a_contrast_without_keys_yet_says_so() -> None:
    pipeline = Pipeline(
        Noisy(),
        branches={"query": Branch("a", encoder=Perceptron())},
        contrasts=[Contrast("query", None, loss=crl.InfoNCE(), score=crl.Cosine(), keys=crl.Queue(8))],
    ).build(points())
    (said,) = pipeline.diagnose(points()).warnings
    assert re.search(r"^query\b.*\bkeys\b", said)
    with pytest.raises(CrlError, match=r"\bquery\b.*\bkeys\b"):
        pipeline.explain(points())


def test_drawn_keys_are_diagnosed_too() -> None:
    pipeline = Pipeline(
        Noisy(),
        branches={"query": Branch("a", encoder=Perceptron()), "key": Branch("b", tracks="query")},
        contrasts=[Contrast("query", "key", loss=crl.InfoNCE(), score=crl.Cosine(), keys=crl.Drawn(3))],
    ).build(points(16))
    found = pipeline.diagnose(points(16)).figures
    assert found["query-key/negatives per query"] == 3
    assert found["query-key/loss of a blind guess"] == pytest.approx(math.log(4))


def test_health_says_nothing_of_a_single_row() -> None:
    one = Embeddings(torch.randn(1, 4), {"instance": torch.tensor([0]), "row": torch.tensor([0])})
    assert health(Pairs(one, (one,), same("instance"), ~same("instance"))) == ({}, [])


# -- explain -----------------------------------------------------------------------------------------------------


def test_explain_names_the_positives_and_negatives_of_a_query() -> None:
    query = torch.eye(4)
    scores = torch.tensor([[3.0, 1, 2, 0], [0, 0, 0, 0], [4, 3, 2, 1], [0, 0, 0, 0]])
    label = torch.tensor([0, 0, 1, 2])
    batch = View(torch.stack([query, scores.T], dim=1), {"instance": torch.arange(4) + 50, "label": label})
    pipeline = by_hand(positive=same("instance"), negative=~same("label"))
    (case,) = pipeline.explain(batch, 2).cases
    assert case.contrast == "query-key"
    assert case.query["instance"] == 52
    assert case.positive.relation == 'same("instance")'
    assert case.positive.count == 1
    assert [(score, columns["instance"]) for score, columns in case.positive.nearest] == [(2.0, 52)]
    assert case.negative.relation == '~same("label")'
    assert case.negative.count == 3
    assert [(score, columns["instance"]) for score, columns in case.negative.nearest] == [
        (4.0, 50),
        (3.0, 51),
        (1.0, 53),
    ]
    assert case.neither == 0
    (case,) = pipeline.explain(batch, 0).cases
    assert [columns["instance"] for _, columns in case.negative.nearest] == [52, 53]
    assert case.neither == 1, "51 has the query's label and is another instance"


def test_explain_shows_the_nearest_and_counts_the_rest() -> None:
    pipeline = simclr().build(points(32))
    found = pipeline.explain(points(32), 33)  # the second view of item 1
    (case,) = found.cases
    assert (case.query["instance"], case.query["view"]) == (1, 1)
    assert (case.positive.count, case.negative.count, case.neither) == (1, 62, 1)
    assert case.positive.nearest[0][1]["instance"] == 1
    assert case.positive.nearest[0][1]["view"] == 0
    shown = [score for score, _ in case.negative.nearest]
    assert len(shown) == 5
    assert shown == sorted(shown, reverse=True)
    text = str(found)
    assert "query: the query has" in text
    assert '1 positive, by same("instance") & ~same("row")' in text
    assert '62 negative, by ~same("instance") & ~same("row")' in text
    assert "… and 57 more" in text
    assert "1 keys are neither" in text


def test_explain_sees_what_the_queue_holds() -> None:
    batch = points(8)
    pipeline = moco(size=40).build(batch)
    for _ in range(2):
        step(pipeline, batch)
    step(pipeline, View(torch.randn(8, 5), {"instance": torch.arange(8) + 100}))
    (case,) = pipeline.explain(batch, 3).cases
    assert case.positive.count == 1
    assert case.negative.count == 22, "24 remembered less its own two"
    assert case.neither == 9, "the seven other keys of the batch, and its own two"
    ids = {columns["instance"] for _, columns in case.negative.nearest}
    assert 3 not in ids


@pytest.mark.parametrize("query", [-1, 24, 1000])
def test_a_query_that_isn_t_there_is_told(query: int) -> None:
    with pytest.raises(CrlError, match=rf"\bquery\b.*\bqueries 0\b.*\b23\b.*{query}"):
        simclr().build(points()).explain(points(), query)


def test_drawn_keys_are_explained_with_their_own_columns() -> None:
    pipeline = Pipeline(
        Noisy(),
        branches={"query": Branch("a", encoder=Perceptron()), "key": Branch("b", tracks="query")},
        contrasts=[Contrast("query", "key", loss=crl.InfoNCE(), score=crl.Cosine(), keys=crl.Drawn(3))],
    ).build(points(16))
    (case,) = pipeline.explain(points(16), 5).cases
    assert (case.positive.count, case.negative.count) == (1, 3)
    assert case.positive.nearest[0][1]["instance"] == 5
    assert all(columns["instance"] != 5 for _, columns in case.negative.nearest)


# -- neither leaves a trace ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("make", METHODS)
def test_looking_changes_nothing(make: Callable[[], Pipeline], training: bool) -> None:
    batch = points(16)
    pipeline = make().build(batch)
    step(pipeline, batch)
    pipeline.loss(batch)  # keys are waiting for the queue
    pipeline.train(training)
    waiting = [list(pending) for side in pipeline.contrasts[0]._pending for pending in side.pending]
    memory = copy.deepcopy(pipeline.contrasts[0].memories[0].state_dict()) if make is moco else {}
    before = {name: value.clone() for name, value in [*pipeline.named_parameters(), *pipeline.named_buffers()]}
    pipeline.diagnose(batch)
    pipeline.explain(batch)
    still = [list(pending) for side in pipeline.contrasts[0]._pending for pending in side.pending]
    assert [[id(rows) for rows in pending] for pending in still] == [[id(r) for r in pending] for pending in waiting]
    assert all(waiting) or not waiting
    now = dict([*pipeline.named_parameters(), *pipeline.named_buffers()])
    assert set(before) == set(now)
    assert all(torch.equal(before[name], value) for name, value in now.items())
    if make is moco:
        after = pipeline.contrasts[0].memories[0].state_dict()
        assert all(torch.equal(memory[name], value) for name, value in after.items())
    assert pipeline.steps == 1, "the second has not been said to be a step"
    assert all(module.training == training for module in pipeline.modules())
    assert all(parameter.grad is None for parameter in pipeline.parameters())


def test_a_pipeline_that_fails_to_look_is_in_training_again() -> None:
    pipeline = simclr().build(points())
    with pytest.raises(CrlError):
        pipeline.explain(points(), 1000)
    assert pipeline.training
    with pytest.raises(RuntimeError):
        pipeline.diagnose(View(torch.randn(4, 3), {"instance": torch.arange(4)}))
    assert pipeline.training


def test_building_and_looking_leave_running_statistics_at_their_start() -> None:
    pipeline = simclr().build(points())
    pipeline.diagnose(points())
    for name, buffer in pipeline.named_buffers():
        if name.endswith("num_batches_tracked"):
            assert int(buffer) == 0, name
