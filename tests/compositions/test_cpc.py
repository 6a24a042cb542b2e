"""Contrastive predictive coding (van den Oord et al. 2018): a context predicts the frames to come."""

from __future__ import annotations

import pytest
import torch
from compositions.structure import coded, codes, linear, slices, train, wheel
from torch import Tensor, nn

import crl_core as crl

STATES, WORDS, LENGTH, STEPS = 4, codes(4, 8), 24, 3


class Clips:
    """One view: the clip itself."""

    views = ("clip",)

    def __call__(self, batch: crl.View) -> dict[str, crl.View]:
        return {"clip": batch}

    def clean(self, batch: crl.View) -> crl.View:
        return batch


class Frames(nn.Sequential):
    """Every frame on its own: `[N, T, 16]` to `[N, T, 32]`. Layer, not batch normalisation, which would leak."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(16, 128), nn.LayerNorm(128), nn.ReLU(), nn.Linear(128, 32))


class Predictions(nn.Module):
    """A context over the past, and a linear map of it for each step ahead: the query's half of a bilinear score."""

    def __init__(self) -> None:
        super().__init__()
        self.context = nn.GRU(32, 64, batch_first=True)
        self.ahead = nn.ModuleList(nn.Linear(64, 32, bias=False) for _ in range(STEPS))

    def forward(self, frames: Tensor) -> crl.Embeddings:
        context, _ = self.context(frames)
        z = torch.stack([ahead(context) for ahead in self.ahead], dim=2)
        steps = torch.arange(1, STEPS + 1)
        position = torch.arange(frames.shape[1])[:, None] + steps
        return crl.Embeddings(
            z, {"position": position.expand(z.shape[:-1]), "step": steps.expand(z.shape[:-1])}, {"context": context}
        )


def cpc(draw: int | None) -> crl.Pipeline:
    frames = Frames()
    return crl.Pipeline(
        Clips,
        branches={
            "context": crl.Branch("clip", encoder=frames, head=Predictions()),
            "frames": crl.Branch("clip", encoder=frames),
        },
        contrasts=[
            crl.Contrast(
                "context", "frames", score=crl.Dot(4.0), loss=crl.InfoNCE(),
                keys=() if draw is None else crl.Drawn(draw),
                positive=crl.same("instance") & crl.same("position"),
                negative=crl.same("instance") & ~crl.same("position"),
            )
        ],
    )  # fmt: skip


def clips(count: int) -> tuple[crl.View, Tensor]:
    states = wheel(count, LENGTH, STATES)
    return crl.View(coded(states, WORDS), {"instance": torch.arange(count)}), states


def state_shown(pipeline: crl.Pipeline) -> float:
    pipeline.eval()
    found = []
    for _ in range(2):
        batch, states = clips(40)
        with torch.no_grad():
            z = pipeline.embed({"clip": batch})["context"].features["context"]
        found.append((z.flatten(0, 1), states.flatten()))
    return linear(*found)


@pytest.mark.parametrize("draw", [None, 10])
def test_the_context_shows_the_hidden_state(draw: int | None) -> None:
    data, states = clips(400)
    frames = data.data.flatten(0, 1)
    raw = linear((frames[:900], states.flatten()[:900]), (frames[900:1800], states.flatten()[900:1800]))
    pipeline = cpc(draw)
    untrained = state_shown(pipeline)
    losses = train(pipeline, slices(data, 16), steps=150)
    trained = state_shown(pipeline)
    assert raw < 0.35, "a linear map of the frames sees almost nothing (chance is .25)"
    assert untrained < 0.62
    assert trained > 0.8, (raw, untrained, trained)
    assert losses[-1] < 0.8 * losses[0]


def test_queries_beyond_the_end_of_a_clip_are_counted_and_negatives_stay_in_the_clip() -> None:
    batch, _ = clips(6)
    pipeline = cpc(None).build(batch)
    losses = pipeline.loss(batch)
    assert int(losses.ignored["context-frames"]) == 6 * sum(range(1, STEPS + 1))
    query = 2 * LENGTH * STEPS + 5 * STEPS + 1  # clip 2, time 5, two steps ahead
    case = pipeline.explain(batch, query).cases[0]
    assert (case.query["instance"], case.query["position"], case.query["step"]) == (2, 7, 2)
    assert case.positive.count == 1
    assert case.positive.nearest[0][1]["position"] == 7
    assert case.negative.count == LENGTH - 1
    assert all(columns["instance"] == 2 for _, columns in case.negative.nearest)


def test_a_context_sees_only_the_past() -> None:
    batch, _ = clips(3)
    pipeline = cpc(None).build(batch).eval()
    with torch.no_grad():
        before = pipeline.embed({"clip": batch})["context"].z
        batch.data[:, 10:] = 0
        after = pipeline.embed({"clip": batch})["context"].z
    assert torch.equal(before[:, :10], after[:, :10])
    assert not torch.equal(before[:, 10:], after[:, 10:])
