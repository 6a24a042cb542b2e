"""Contrastive representation distillation (Tian et al. 2020, CRD): a frozen teacher, and a memory for each side."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import pytest
import torch
import torch.nn.functional as F
from compositions.parts_heads import Unit
from compositions.parts_promises import has_a_spec, keeps_its_state
from compositions.parts_scenes import Perceptron, Scenes, seen
from torch import Tensor, nn

import crl_core as crl
from crl_core import Bank, View, same

ITEMS, DRAWN, TEMPERATURE, WIDTH = 512, 64, 0.07, 16


class NoiseContrast(nn.Module):
    """-log h(s⁺) - Σ log(1 - h(s⁻)), h(s) = e^s/Z / (e^s/Z + m·noise): Tian et al. 2020, equation 18.

    m is the number of drawn keys; Z is estimated on the first batch, and stays.
    """

    takes: ClassVar[Literal["scores"]] = "scores"
    log_z: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("log_z", torch.tensor(math.nan))

    def forward(self, scores: crl.Scores) -> Tensor:
        positive, negative, log_noise = scores.positive, scores.negative, scores.log_noise
        assert log_noise is not None
        if self.log_z.isnan():
            mean = positive.values.detach().logsumexp((0, 1)) - math.log(positive.values.numel())
            self.log_z.copy_(mean - log_noise[0, 0])
        shift = self.log_z + negative.count().clamp(min=1).log().unsqueeze(1) + log_noise
        return positive.sum(lambda s: F.softplus(shift - s)) + negative.sum(lambda s: F.softplus(s - shift))


class AsSeen:
    """One view: what a scene looks like."""

    views: ClassVar[tuple[str, ...]] = ("image",)

    def __call__(self, batch: View) -> Mapping[str, View]:
        return {"image": self.clean(batch)}

    def clean(self, batch: View) -> View:
        return View(seen(batch.data), batch.meta)


crl.register("loss", "noise-contrast", NoiseContrast)
crl.register("sampler", "as-seen", AsSeen)


def crd(teacher: nn.Module | None = None, student: nn.Module | None = None) -> crl.Pipeline:
    """Keys come from the banks alone: what is in this batch has been put there in an earlier one."""
    earlier = ~same("batch")

    def towards(query: str, key: str) -> crl.Contrast:
        return crl.Contrast(
            query, key, score=crl.Dot(TEMPERATURE), loss=NoiseContrast(), keys=crl.Drawn(DRAWN, of=Bank(ITEMS)),
            positive=same("instance") & earlier, negative=~same("label") & earlier, weight=0.8,
        )  # fmt: skip

    return crl.Pipeline(
        AsSeen,
        branches={
            "student": crl.Branch("image", encoder=student or Perceptron(32, 16, 1), head=Unit(crl.Linear(WIDTH))),
            "teacher": crl.Branch(
                "image", encoder=teacher or Perceptron(), head=Unit(crl.Linear(WIDTH)), update=crl.Frozen()
            ),
        },
        contrasts=[towards("student", "teacher"), towards("teacher", "student")],
    )


def all_of(source: Scenes, split: str) -> View:
    return source.items(split).__getitems__(list(range(source.count)))


@pytest.fixture(scope="module")
def teacher() -> Perceptron:
    """Taught the classes."""
    torch.manual_seed(0)
    source, encoder, classifier = Scenes(count=ITEMS), Perceptron(), nn.Linear(32, 8)
    batch = all_of(source, "train")
    optimiser = torch.optim.AdamW([*encoder.parameters(), *classifier.parameters()], 3e-3)
    for _ in range(80):
        loss = F.cross_entropy(classifier(encoder(seen(batch.data))), batch.meta["label"])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return encoder


@torch.no_grad()
def found_again(pipeline: crl.Pipeline, source: Scenes) -> float:
    """The share of unseen items whose teacher's embedding is among the ten nearest to the student's, of 512."""
    pipeline.eval()
    table = pipeline.embed(pipeline.sampler(all_of(source, "test")))
    scores = table["student"].z @ table["teacher"].z.T
    return float((scores >= scores.diagonal()[:, None]).sum(1).le(10).float().mean())


def test_a_student_finds_what_the_teacher_sees(teacher: Perceptron) -> None:
    """Chance .02, trained .26 to .32 over 3 seeds."""
    source = Scenes(count=ITEMS)
    pipeline = crd(teacher)
    frozen = [p.clone() for p in teacher.parameters()]
    untrained = found_again(pipeline.build(all_of(source, "train")), source)
    training = crl.Training(epochs=30, batch_size=64, optimiser=crl.AdamW(3e-3), schedule=crl.CosineDecay(warmup=1))
    crl.fit(pipeline, source, training, accelerator="cpu", show=False)
    trained = found_again(pipeline, source)
    assert untrained < 0.06, "chance is .02"
    assert trained > 0.18, (untrained, trained)
    assert all(torch.equal(a, b) for a, b in zip(frozen, teacher.parameters(), strict=True))


def test_beside_a_task_loss(teacher: Perceptron) -> None:
    """One loop: cross-entropy of a classifier on the student, plus the pipeline's loss."""
    source = Scenes(count=ITEMS)
    batch = all_of(source, "train")
    pipeline = crd(teacher).build(batch).train()
    classifier = nn.Linear(16, 8)
    optimiser = torch.optim.AdamW([p for p in (*pipeline.parameters(), *classifier.parameters()) if p.requires_grad])
    head_before = [p.clone() for p in pipeline.branches["teacher"].head.parameters()]
    for step in range(3):
        losses = pipeline.loss(batch)
        task = F.cross_entropy(classifier(losses.embeddings["student"].features["representation"]), batch.meta["label"])
        optimiser.zero_grad()
        (task + losses.total).backward()
        optimiser.step()
        pipeline.on_step()
        assert int(losses.ignored["student-teacher"]) == (ITEMS if step == 0 else 0), "the banks are empty at first"
    assert not any(p.requires_grad for p in teacher.parameters())
    after = pipeline.branches["teacher"].head.parameters()
    assert not any(torch.equal(a, b) for a, b in zip(head_before, after, strict=True)), "its projection is trained"


def test_negatives_are_of_other_classes_and_all_keys_of_earlier_batches() -> None:
    source = Scenes(count=ITEMS)
    pipeline = crd().build(all_of(source, "train")).train()
    for start in (0, 64, 32):
        batch = source.items("train").__getitems__(list(range(start, start + 64)))
        losses = pipeline.loss(batch)
        pairs = pipeline.contrasts[0].pairs(losses.embeddings)
        pipeline.on_step()
    positive, negative = pairs.masks()
    label, key = pairs.query.meta["label"], pairs.key_meta
    assert bool(positive[:, 0].all())
    assert bool(negative[:, 1:].all())
    assert bool((key["instance"][:, 0] == pairs.query.meta["instance"][:, 0]).all())
    assert bool((key["label"][:, 1:] != label).all())
    assert bool((key["batch"] < pipeline.steps).all())
    assert not any(".keys." in name for name, _ in pipeline.named_parameters())


def test_the_loss_is_the_sources() -> None:
    """Against the formula written with probabilities, m drawn of n keys, noise 1/n."""
    n, m = 100, 8
    values = torch.randn(5, m + 1, dtype=torch.float64, requires_grad=True)
    positive = torch.zeros(5, m + 1, dtype=torch.bool)
    positive[:, 0] = True
    log_noise = torch.full((5, m + 1), -math.log(n), dtype=torch.float64)
    loss = NoiseContrast().double()
    pieces = crl.Scores.of(values, positive)
    found = loss(crl.Scores(pieces.positive, pieces.negative, log_noise))
    z = values.detach().exp().mean() * n
    p, noise = values.exp() / z, m / n
    expected = -(p[:, 0] / (p[:, 0] + noise)).log() - (noise / (p[:, 1:] + noise)).log().sum(1)
    torch.testing.assert_close(found, expected)
    before = loss.log_z.clone()
    loss(crl.Scores(pieces.positive, crl.Scores.of(values * 3, positive).negative, log_noise))
    assert torch.equal(before, loss.log_z), "Z stays as it was on the first batch"


def test_the_promises() -> None:
    source = Scenes(count=ITEMS)
    batch = all_of(source, "train")
    pipeline = crd().build(batch).train()
    for _ in range(2):
        pipeline.loss(batch)
        pipeline.on_step()
    keeps_its_state(pipeline, has_a_spec(pipeline), batch)
    case = pipeline.explain(batch, 9).cases[1]
    assert {columns["instance"] for _, columns in case.positive.nearest} == {9}
    assert case.negative.count == DRAWN
    assert all(columns["label"] != 9 % 8 for _, columns in case.negative.nearest)
