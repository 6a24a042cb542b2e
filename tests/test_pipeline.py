from __future__ import annotations

import copy
import itertools
import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from small import learns
from torch import Tensor, nn

import crl_core as crl
from crl_core import Branch, Contrast, CrlError, Penalty, Pipeline, View, same


class Noisy:
    """Views of points: the point, and noise."""

    views = ("a", "b")

    def __call__(self, batch: View) -> dict[str, View]:
        return {name: View(batch.data + 0.1 * torch.randn_like(batch.data), batch.meta) for name in self.views}

    def clean(self, batch: View) -> View:
        return batch


def points(count: int = 12, **columns: Tensor) -> View:
    return View(torch.randn(count, 5), {"instance": torch.arange(count), **columns})


def encoder() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 8))


def simclr() -> Pipeline:
    return Pipeline(Noisy, encoder=encoder(), head=crl.MLP(6), score=crl.Cosine(0.2), loss="info-nce")


def moco(momentum: float = 0.9, size: int = 20) -> Pipeline:
    return Pipeline(
        Noisy,
        branches={
            "query": Branch("a", encoder=encoder(), head=crl.MLP(6)),
            "key": Branch("b", tracks="query", update=crl.Momentum(momentum)),
        },
        contrasts=[
            Contrast(
                "query", "key", score=crl.Cosine(0.2), loss=crl.InfoNCE(), keys=crl.Queue(size),
                positive=same("instance") & same("batch"), negative=~same("instance") & ~same("batch"),
            )
        ],
    )  # fmt: skip


def byol() -> Pipeline:
    return Pipeline(
        Noisy,
        branches={
            "projection": Branch(("a", "b"), encoder=encoder(), head=crl.MLP(6)),
            "online": Branch(tap="projection", head=crl.Prediction()),
            "target": Branch(("a", "b"), tracks="projection", update=crl.Momentum(0.9)),
        },
        contrasts=[Contrast("online", "target", loss=crl.Regression(), positive=same("instance") & ~same("view"))],
    )


METHODS: list[Callable[[], Pipeline]] = [simclr, moco, byol]


def train(pipeline: Pipeline, batch: View, steps: int) -> list[float]:
    optimiser = torch.optim.AdamW((p for p in pipeline.parameters() if p.requires_grad), 1e-2)
    found = []
    for _ in range(steps):
        losses = pipeline.loss(batch)
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        pipeline.on_step()
        found.append(float(losses.total.detach()))
    return found


# -- what a pipeline computes ------------------------------------------------------------------------------


@pytest.mark.parametrize("score", [crl.Bilinear(), crl.Joint()])
def test_the_weights_of_a_lazy_score_are_made_before_the_optimiser(score: nn.Module) -> None:
    batch = points()
    pipeline = simclr().replace("score", score).build(batch)
    weights = list(score.parameters())
    assert weights
    pipeline.loss(batch).total.backward()
    assert all(weight.grad is not None for weight in weights)
    assert len(weights) == len(list(score.parameters()))


def test_the_short_form_is_nt_xent_of_both_views() -> None:
    batch = points()
    pipeline = simclr().build(batch)
    losses = pipeline.loss(batch)
    z = F.normalize(losses.embeddings["query"].z, dim=1)
    scores = (z @ z.T / 0.2).masked_fill(torch.eye(24, dtype=torch.bool), -torch.inf)
    torch.testing.assert_close(losses.total, F.cross_entropy(scores, (torch.arange(24) + 12) % 24))
    assert list(losses.terms) == ["query"]


@pytest.mark.parametrize("make", METHODS)
def test_every_method_learns(make: Callable[[], Pipeline]) -> None:
    assert learns(make)


def test_a_loss_that_falls_by_collapse_is_no_learning() -> None:
    def siamese() -> Pipeline:
        return Pipeline(
            Noisy,
            branches={"query": Branch(("a", "b"), encoder=encoder(), head=crl.MLP(6, norm=False))},
            contrasts=[Contrast("query", "query", loss="regression", positive=same("instance") & ~same("view"))],
        )

    batch = points(32)
    losses = train(siamese().build(batch), batch, 40)
    assert losses[-1] < 0.1 * losses[0]
    assert not learns(siamese)


@pytest.mark.parametrize("make", [moco, byol])
def test_the_target_gets_no_gradient_and_follows_the_momentum_law(make: Callable[[], Pipeline]) -> None:
    batch = points()
    pipeline = make().build(batch)
    tracker = next(branch for branch in pipeline.branches.values() if branch.tracks)
    tracked = pipeline.branches[str(tracker.tracks)]
    for name in ("encoder", "head"):
        for ours, theirs in zip(tracker.copies[name].parameters(), getattr(tracked, name).parameters(), strict=True):
            assert torch.equal(ours, theirs), "a copy starts where the original is"
    before = [parameter.clone() for parameter in tracker.copies.parameters()]
    train(pipeline, batch, 1)
    after = list(tracker.copies.parameters())
    originals = [*tracked.encoder.parameters(), *tracked.head.parameters()]  # type: ignore[union-attr]
    for old, new, original in zip(before, after, originals, strict=True):
        assert new.grad is None
        assert not new.requires_grad
        torch.testing.assert_close(new, 0.9 * old + 0.1 * original.detach())
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True)), "it moved"


def test_the_trained_side_gets_gradients_everywhere() -> None:
    for make in METHODS:
        pipeline = make().build(points())
        batch = points()
        pipeline.loss(batch)
        pipeline.on_step()  # MoCo's first step has no negatives
        pipeline.loss(batch).total.backward()
        for name, parameter in pipeline.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None, name


def test_keys_are_queued_after_the_loss_and_hold_what_they_should() -> None:
    batch = points(8)
    pipeline = moco(size=20).build(batch)
    queue = pipeline.contrasts[0].memories[0]
    expected: list[Tensor] = []
    for step in range(4):
        losses = pipeline.loss(batch)
        held = queue.keys()
        assert (held is None) == (step == 0), "a step never meets its own keys in the queue"
        expected.append(pipeline.contrasts[0].score.for_memory(losses.embeddings["key"].z))
        pipeline.on_step()
        held = queue.keys()
        assert held is not None
        wanted = torch.cat(expected)[-20:]
        assert {tuple(row) for row in held.z.tolist()} == {tuple(row) for row in wanted.tolist()}
    assert sorted(held.meta["batch"].tolist()) == [2] * 4 + [3] * 8 + [4] * 8


def test_moco_is_the_sources_loss() -> None:
    batch = points(8)
    pipeline = moco().build(batch)
    pipeline.loss(batch)
    pipeline.on_step()
    held = pipeline.contrasts[0].memories[0].keys()
    assert held is not None
    negatives, ids = held.z.clone(), held.meta["instance"]
    losses = pipeline.loss(batch)
    q, k = (F.normalize(losses.embeddings[name].z, dim=1) for name in ("query", "key"))
    others = (q @ F.normalize(negatives, dim=1).T / 0.2).masked_fill(torch.arange(8)[:, None] == ids, -torch.inf)
    logits = torch.cat([(q * k).sum(1, keepdim=True) / 0.2, others], dim=1)
    torch.testing.assert_close(losses.total, F.cross_entropy(logits, torch.zeros(8, dtype=torch.int64)))


def test_byol_is_symmetric() -> None:
    batch = points()
    pipeline = byol().build(batch).eval()
    with torch.no_grad():
        losses = pipeline.loss(batch)
    online, target = (losses.embeddings[name].z for name in ("online", "target"))
    swapped = torch.cat([target[12:], target[:12]])
    torch.testing.assert_close(losses.total, (2 - 2 * F.cosine_similarity(online, swapped)).mean())


def test_branches_that_share_an_encoder_run_it_once() -> None:
    calls = itertools.count()

    class Counted(nn.Linear):
        def forward(self, data: Tensor) -> Tensor:
            next(calls)
            return super().forward(data)

    shared = Counted(5, 4)
    pipeline = Pipeline(
        Noisy,
        branches={
            "one": Branch("a", encoder=shared, head=crl.Linear(3)),
            "two": Branch("a", encoder=shared, head=crl.Linear(3)),
            "three": Branch("a", tracks="one"),
        },
        contrasts=[Contrast("one", ("two", "three"), loss=crl.InfoNCE(), score=crl.Cosine())],
    )
    pipeline.build(points())
    before = next(calls)
    pipeline.loss(points())
    assert next(calls) == before + 2, "once, and this count"


def test_a_frozen_encoder_stays_while_its_head_trains() -> None:
    teacher = encoder()
    pipeline = Pipeline(
        Noisy,
        branches={
            "student": Branch("a", encoder=encoder(), head=crl.Linear(4)),
            "teacher": Branch("b", encoder=teacher, head=crl.Linear(4), update=crl.Frozen()),
        },
        contrasts=[Contrast("student", "teacher", loss=crl.InfoNCE(), score=crl.Cosine())],
    )
    before = copy.deepcopy(teacher.state_dict())
    batch = points()
    pipeline.build(batch).train()
    head = pipeline.branches["teacher"].head
    assert head is not None
    start = [parameter.clone() for parameter in head.parameters()]
    train(pipeline, batch, 3)
    assert all(torch.equal(before[name], now) for name, now in teacher.state_dict().items()), "running statistics too"
    assert not torch.equal(start[0], next(head.parameters()))


def test_stop_gradient_on_a_tap() -> None:
    pipeline = Pipeline(
        Noisy,
        branches={
            "projection": Branch(("a", "b"), encoder=encoder(), head=crl.MLP(6)),
            "prediction": Branch(tap="projection", head=crl.Prediction()),
            "target": Branch(tap="projection", update=crl.StopGradient()),
        },
        contrasts=[Contrast("prediction", "target", loss=crl.Regression(), positive=same("instance") & ~same("view"))],
    )
    losses = pipeline.build(points()).loss(points())
    assert losses.embeddings["prediction"].z.requires_grad
    assert not losses.embeddings["target"].z.requires_grad


def test_weights_terms_and_penalties_add_up() -> None:
    class Length(nn.Module):
        takes = "embeddings"

        def forward(self, table: crl.Embeddings) -> Tensor:
            return table.features["representation"].square().mean()

    part = dict(loss=crl.InfoNCE(), score=crl.Cosine())
    pipeline = Pipeline(
        Noisy,
        branches={"query": Branch("a", encoder=encoder()), "key": Branch("b", tracks="query")},
        contrasts=[Contrast("query", "key", weight=2.0, **part), Contrast("key", "query", weight=0.5, **part)],
        penalties=[Penalty("query", Length(), weight=10.0, name="length")],
    )
    losses = pipeline.build(points()).loss(points())
    terms = losses.terms
    assert list(terms) == ["query-key", "key-query", "length"]
    torch.testing.assert_close(
        losses.total.detach(), 2 * terms["query-key"] + 0.5 * terms["key-query"] + 10 * terms["length"]
    )


def test_encode_is_the_encoder_alone_without_randomness_or_side_effects() -> None:
    batch = points()
    pipeline = simclr().build(batch)
    state = torch.get_rng_state()
    first = pipeline.encode(batch)
    assert torch.equal(first, pipeline.encode(batch))
    assert torch.equal(state, torch.get_rng_state())
    assert pipeline.training
    expected = pipeline.branches["query"].encoder
    assert expected is not None
    torch.testing.assert_close(first, expected.eval()(batch.data))


def test_a_pipeline_is_a_loss_in_anybodys_loop() -> None:
    backbone = encoder()
    classifier = nn.Linear(8, 3)
    pipeline = Pipeline(Noisy, encoder=backbone, head=crl.MLP(6), score=crl.Cosine(), loss=crl.InfoNCE())
    batch = points(12, label=torch.arange(12) % 3)
    pipeline.build(batch)
    task = F.cross_entropy(classifier(backbone(batch.data)), batch.meta["label"])
    (task + 0.1 * pipeline.loss(batch).total).backward()
    assert backbone[0].weight.grad is not None
    assert classifier.weight.grad is not None


@pytest.mark.parametrize("make", METHODS)
def test_state_dict_makes_the_same_pipeline(make: Callable[[], Pipeline]) -> None:
    batch = points()
    pipeline = make().build(batch)
    train(pipeline, batch, 3)
    other = make()
    other.load_state_dict(pipeline.state_dict())
    torch.manual_seed(1)
    expected = pipeline.loss(batch).total
    torch.manual_seed(1)
    assert torch.equal(other.loss(batch).total, expected)
    assert other.steps == pipeline.steps


# -- what can go wrong -------------------------------------------------------------------------------------


def test_a_batch_of_one_is_refused() -> None:
    pipeline = simclr().build(points())
    pipeline.eval()  # batch normalisation has its own objection
    with pytest.raises(CrlError, match=r"'query'.*\b2 queries\b.*\bnegative\b.*~same\(\"instance\"\)"):
        pipeline.loss(points(1))


def test_relations_without_any_positive_are_refused() -> None:
    pipeline = simclr()
    pipeline.contrasts[0].positive = same("instance") & same("row") & ~same("row")
    with pytest.raises(CrlError, match=r"\b24 queries\b.*\bpositive\b"):
        pipeline.build(points()).loss(points())


def test_nan_in_a_batch_names_term_branch_and_instances() -> None:
    batch = points()
    pipeline = Pipeline(Noisy, encoder=nn.Linear(5, 4), score=crl.Cosine(), loss=crl.InfoNCE()).build(batch)
    batch.data[7] = float("nan")
    with pytest.raises(
        CrlError, match=r"not finite: query = nan\. Branch 'query' has 2 embeddings .* \(instances 7, 7"
    ):
        pipeline.loss(batch)


def test_forgetting_on_step_is_noticed() -> None:
    batch = points()
    pipeline = moco().build(batch)
    with pytest.warns(UserWarning, match="without pipeline.on_step"):
        for _ in range(100):
            pipeline.loss(batch)
    quiet = simclr().build(batch)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(100):
            quiet.loss(batch)


def one(**options: object) -> Pipeline:
    return Pipeline(
        Noisy,
        branches={"query": Branch("a", encoder=encoder()), "key": Branch("b", tracks="query")},
        contrasts=[Contrast("query", "key", loss=crl.InfoNCE(), **options)],  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Branch("a"), r"\bone of\b.*\bencoder\b.*\btracks\b"),
        (lambda: Branch("a", encoder=encoder(), tracks="query"), r"\bone of\b.*\bencoder\b.*\btracks\b"),
        (lambda: Branch(encoder=encoder()), r"\bview\b.*\btap\b"),
        (lambda: Branch("a", encoder=encoder(), update=crl.Momentum()), r"\bMomentum\b.*\bbranch\b"),
        (lambda: Branch(("a", "b"), encoder={"a": encoder()}), r"\bencoders for a\b.*\breads a, b\b"),
        (lambda: Pipeline(Noisy, encoder=encoder()), r"\bencoder\b.*\bloss\b"),
        (lambda: Pipeline(Noisy, branches={}, loss="info-nce"), r"\bbranches\b"),
        (lambda: Pipeline("nosuch", encoder=encoder(), loss="info-nce"), r"\bsampler\b.*'nosuch'"),
        (lambda: Pipeline(nn.Linear, encoder=encoder(), loss="info-nce"), "Linear"),
        (lambda: one(score=crl.Momentum), r"\bMomentum\b.*\bscore\b"),
        (lambda: Contrast("query", "key", loss=crl.Cosine()), r"\bCosine\b.*\bloss\b.*\btakes\b"),
        (lambda: Contrast("query", None, loss=crl.InfoNCE()), r"\bquery\b.*\bkeys\b"),
        (
            lambda: Contrast("query", "key", loss=crl.InfoNCE(), keys="queu"),
            r"\bkeys\b.*'queu'.*'queue'",
        ),
        (lambda: Contrast("query", "key", loss=crl.InfoNCE(), keys=crl.Cosine()), r"\bCosine\b.*\bkeys\b"),
        (
            lambda: Contrast("query", "key", loss=crl.InfoNCE(), keys=crl.PerQuery(), symmetric=True),
            r"\bkeys\b.*\bquery\b.*\bqueries\b",
        ),
        (
            lambda: Contrast("query", None, loss=crl.InfoNCE(), keys=crl.Queue(4), symmetric=True),
            r"\bkeys\b.*\bquery\b.*\bqueries\b",
        ),
        (lambda: Contrast("query", None, loss=crl.InfoNCE(), keys=crl.Drawn(4)), r"\bquery\b.*\bkeys\b"),
        (lambda: Contrast("query", "key", loss=crl.Margin(), score=crl.Cosine()), r"\bMargin\b.*\bdistance\b"),
        (lambda: Contrast("query", "key", loss=crl.InfoNCE(), positive="same(1)"), "doesn't fit"),
        (lambda: Penalty("query", crl.InfoNCE()), r"\bembeddings; InfoNCE\b.*\bscores\b"),
        (
            lambda: Pipeline(Noisy, branches={"query": Branch("c", encoder=encoder())}, contrasts=[]),
            r"\bview 'c'.*\ba, b\b",
        ),
        (
            lambda: Pipeline(Noisy, branches={"key": Branch("a", tracks="query")}, contrasts=[]),
            r"'key'.*'query'.*\bnone\b",
        ),
        (
            lambda: Pipeline(
                Noisy,
                branches={"query": Branch("a", encoder=encoder())},
                contrasts=[Contrast("qury", "query", loss=crl.InfoNCE())],
            ),
            r"\bbranch 'qury'.*'query'",
        ),
        (
            lambda: Pipeline(
                Noisy,
                branches={"query": Branch("a", encoder=encoder())},
                contrasts=[Contrast("query", "query", loss=crl.InfoNCE())] * 2,
            ),
            r"\bterms\b.*\bname\b",
        ),
    ],
)
def test_a_wrong_composition_is_refused_at_once(make: Callable[[], object], said: str) -> None:
    with pytest.raises((CrlError, TypeError), match=said):
        make()


def test_a_tap_of_nothing_names_what_there_is() -> None:
    pipeline = Pipeline(
        Noisy,
        branches={"query": Branch("a", encoder=encoder()), "stage": Branch(tap="query.stage1", head=crl.Linear(3))},
        contrasts=[Contrast("query", "query", loss=crl.InfoNCE())],
    )
    with pytest.raises(CrlError, match=r"\bbranch 'query'.*\bfeature 'stage1'.*\brepresentation\b"):
        pipeline.build(points())


def test_views_that_differ_in_shape_are_not_stacked() -> None:
    class Sizes(Noisy):
        def __call__(self, batch: View) -> dict[str, View]:
            return {"a": batch, "b": View(batch.data[:, :3], batch.meta)}

    with pytest.raises(CrlError, match=r"\bencoder\b.*\bbranch\b"):
        Pipeline(Sizes, encoder=encoder(), loss="info-nce").build(points())
