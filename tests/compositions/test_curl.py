"""CURL (Srinivas et al. 2020): two crops of one stack of frames, a target encoder, a bilinear score."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from compositions.parts_promises import has_a_spec, keeps_its_state
from compositions.structure import linear, slices, train
from torch import Tensor, nn

import crl_core as crl

FRAMES, SIDE, CROP, DIRECTIONS = 3, 20, 16, 6


def stacks(count: int) -> tuple[crl.View, Tensor]:
    """Three frames `[N, 3, SIDE, SIDE]` of a bright ball that flies somewhere; and in which direction."""
    direction = torch.randint(0, DIRECTIONS, (count,))
    angle = direction * 2 * math.pi / DIRECTIONS
    velocity = 2.5 * torch.stack([angle.cos(), angle.sin()], dim=1)
    centre = torch.empty(count, 2).uniform_(6, SIDE - 6)
    place = centre[:, None] + velocity[:, None] * torch.arange(-1, 2)[:, None]
    grid = torch.stack(torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij"), -1).float()
    distance = (grid - place[:, :, None, None]).square().sum(-1)
    return crl.View((-distance / 3).exp(), {"instance": torch.arange(count)}), direction


class RandomCrops:
    """Two crops of every stack; all frames of a stack are cut alike."""

    views = ("query", "key")

    def __init__(self, size: int = CROP) -> None:
        self.size = size

    def __call__(self, batch: crl.View) -> dict[str, crl.View]:
        return {name: crl.View(self._crop(batch.data), batch.meta) for name in self.views}

    def _crop(self, frames: Tensor) -> Tensor:
        room = frames.shape[-1] - self.size + 1  # offsets 0 … room - 1: the last one counts
        top, left = torch.randint(0, room, (2, len(frames), 1))
        rows, columns = (start + torch.arange(self.size) for start in (top, left))
        each = torch.arange(len(frames))[:, None, None]
        # Noise of the camera, which no two views share.
        cropped = frames[each, :, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)
        return cropped + 0.1 * torch.randn_like(cropped)

    def clean(self, batch: crl.View) -> crl.View:
        edge = (batch.data.shape[-1] - self.size) // 2
        return crl.View(batch.data[..., edge : edge + self.size, edge : edge + self.size], batch.meta)


class Pixels(nn.Module):
    """A small convolutional network, a linear map and a layer norm, as in the source: `[N, 3, 16, 16]` to `[N, 32]`."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(FRAMES, 32, 3, stride=2), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(), nn.Flatten()
        )
        self.out = nn.Sequential(nn.Linear(32 * 5 * 5, 32), nn.LayerNorm(32))

    def forward(self, frames: Tensor) -> Tensor:
        output: Tensor = self.out(self.convolutions(frames))
        return output


class Bilinear(nn.Module):
    """query · W · key, W from 0 to 1 at the start (Srinivas et al. 2020, equation 5)."""

    def __init__(self, size: int = 32) -> None:
        super().__init__()
        self.size = size
        self.weight = nn.Parameter(torch.rand(size, size))

    def factors(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        return query @ self.weight, key

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        query, key = self.factors(query, key)
        return query @ key.T


crl.register("sampler", "random-crops", RandomCrops)
crl.register("encoder", "pixels", Pixels)
crl.register("score", "test-bilinear", Bilinear)


def curl() -> crl.Pipeline:
    return crl.Pipeline(
        RandomCrops,
        branches={
            "query": crl.Branch("query", encoder=Pixels()),
            "key": crl.Branch("key", tracks="query", update=crl.Momentum(0.95)),
        },
        contrasts=[crl.Contrast("query", "key", score=Bilinear(), loss=crl.InfoNCE())],
    )


def direction_shown(pipeline: crl.Pipeline) -> float:
    (a, ya), (b, yb) = stacks(400), stacks(400)
    return linear((pipeline.encode(a), ya), (pipeline.encode(b), yb))


def test_the_representation_shows_where_the_ball_flies() -> None:
    """Of 32 numbers: chance .17, untrained .55 to .65, trained .92 to .96 over 3 seeds (all 1200 pixels: .98)."""
    data, _ = stacks(1_000)
    pipeline = curl().build(data)
    untrained = direction_shown(pipeline)
    losses = train(pipeline, slices(data, 64), steps=300, rate=1e-3)
    trained = direction_shown(pipeline)
    assert untrained < 0.75
    assert trained > 0.85, (untrained, trained)
    assert sum(losses[-20:]) / 20 < 0.9 * math.log(64)


def test_the_loss_is_cross_entropy_of_the_bilinear_scores_less_their_row_maximum() -> None:
    batch, _ = stacks(16)
    pipeline = curl().build(batch)
    losses = pipeline.loss(batch)
    query, key = (losses.embeddings[name].z for name in ("query", "key"))
    logits = query @ pipeline.contrasts[0].score.weight @ key.T
    expected = F.cross_entropy(logits - logits.amax(1, keepdim=True), torch.arange(16))
    torch.testing.assert_close(losses.total, expected)


def test_it_works_inside_somebody_elses_loop() -> None:
    """As in SAC: a critic's loss and the contrast move one encoder; its target follows every second step."""
    batch, direction = stacks(64)
    pipeline = curl().build(batch).train()
    critic = nn.Linear(32, DIRECTIONS)
    encoder, target = pipeline.branches["query"].encoder, pipeline.branches["key"].copies["encoder"]
    task_optimiser = torch.optim.Adam([*encoder.parameters(), *critic.parameters()], 1e-3)
    contrast_optimiser = torch.optim.Adam([p for p in pipeline.parameters() if p.requires_grad], 1e-3)
    for step in range(4):
        task_optimiser.zero_grad()
        F.cross_entropy(critic(encoder(pipeline.sampler.clean(batch).data)), direction).backward()
        task_optimiser.step()
        contrast_optimiser.zero_grad()
        losses = pipeline.loss(batch)
        losses.total.backward()
        contrast_optimiser.step()
        assert set(losses.terms) == {"query-key"}
        assert all(p.grad is None and not p.requires_grad for p in target.parameters())
        before = [p.clone() for p in target.parameters()]
        if step % 2:
            pipeline.on_step()
        kept = 0.95 if step % 2 else 1.0
        for old, new, online in zip(before, target.parameters(), encoder.parameters(), strict=True):
            torch.testing.assert_close(new, kept * old + (1 - kept) * online)


def test_a_stack_is_cut_alike_and_every_offset_occurs() -> None:
    sampler, count = RandomCrops(), 2_000
    ramp = torch.arange(SIDE * SIDE, dtype=torch.float32).view(SIDE, SIDE)
    views = sampler(crl.View(ramp.expand(count, FRAMES, SIDE, SIDE) * 10, {"instance": torch.arange(count)}))
    corner = (views["query"].data[:, :, 0, 0] / 10).round().long()
    assert bool((corner == corner[:, :1]).all())
    room = SIDE - CROP + 1
    assert set(corner[:, 0].tolist()) == {SIDE * row + column for row in range(room) for column in range(room)}
    assert not torch.equal(corner, (views["key"].data[:, :, 0, 0] / 10).round().long())


def test_the_promises() -> None:
    batch, _ = stacks(32)
    pipeline = curl().build(batch).train()
    keeps_its_state(pipeline, has_a_spec(pipeline), batch)
    case = pipeline.explain(batch, 5).cases[0]
    assert case.positive.nearest[0][1]["instance"] == 5
    assert (case.positive.count, case.negative.count) == (1, 31)
