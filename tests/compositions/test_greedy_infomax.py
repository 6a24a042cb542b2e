"""Greedy InfoMax (Löwe et al. 2019): a contrast for every stage, and no gradient between the stages."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from compositions.parts_promises import has_a_spec, keeps_its_state
from compositions.structure import coded, codes, linear, slices, train, wheel
from torch import Tensor, nn

import crl_core as crl

STATES, WORDS, LENGTH, STEPS, DRAWN = 4, codes(4, 8), 24, 2, 10
STAGES = ("first", "second", "context")


class Sequences:
    """One view: the sequence itself."""

    views = ("sequence",)

    def __call__(self, batch: crl.View) -> dict[str, crl.View]:
        return {"sequence": batch}

    def clean(self, batch: crl.View) -> crl.View:
        return batch


class First(nn.Sequential):
    """Every frame on its own: `[N, T, 16]` to `[N, T, 32]`."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(16, 128), nn.LayerNorm(128), nn.ReLU(), nn.Linear(128, 32))


class Second(nn.Module):
    """A frame and the one before it: `[N, T, 32]` to `[N, T, 32]`."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Sequential(nn.Conv1d(32, 64, 2), nn.ReLU(), nn.Conv1d(64, 32, 1))

    def forward(self, frames: Tensor) -> Tensor:
        output: Tensor = self.mix(F.pad(frames.mT, (1, 0))).mT
        return output


class Past(nn.Module):
    """A recurrent summary of all frames so far: `[N, T, 32]` to `[N, T, 32]`."""

    def __init__(self) -> None:
        super().__init__()
        self.summary = nn.GRU(32, 32, batch_first=True)

    def forward(self, frames: Tensor) -> Tensor:
        output: Tensor = self.summary(frames)[0]
        return output


class Ahead(nn.Module):
    """A linear map for each step ahead: `[N, T, 32]` to `[N, T, STEPS, 32]`."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(32, 32, bias=False) for _ in range(STEPS))

    def forward(self, frames: Tensor) -> crl.Embeddings:
        z = torch.stack([ahead(frames) for ahead in self.maps], dim=2)
        position = torch.arange(frames.shape[1])[:, None] + torch.arange(1, STEPS + 1)
        return crl.Embeddings(z, {"position": position.expand(z.shape[:-1])})


for kind, part in (("sampler", Sequences), ("encoder", First), ("head", Second), ("head", Past), ("head", Ahead)):
    crl.register(kind, f"infomax-{part.__name__.lower()}", part)


def greedy_infomax() -> crl.Pipeline:
    """What a stage makes of the one before is all that it takes from it; the context predicts its own input."""
    apart = crl.StopGradient
    contrast = {
        "score": crl.Dot(4.0), "loss": crl.InfoNCE(), "keys": crl.Drawn(DRAWN),
        "positive": crl.same("instance") & crl.same("position"),
        "negative": ~(crl.same("instance") & crl.same("position")),
    }  # fmt: skip
    return crl.Pipeline(
        Sequences,
        branches={
            "first": crl.Branch("sequence", encoder=First()),
            "first ahead": crl.Branch(tap="first", head=Ahead()),
            "second": crl.Branch(tap="first", update=apart(), head=Second()),
            "second ahead": crl.Branch(tap="second", head=Ahead()),
            "given": crl.Branch(tap="second", update=apart()),
            "context": crl.Branch(tap="second", update=apart(), head=Past()),
            "context ahead": crl.Branch(tap="context", head=Ahead()),
        },
        contrasts=[
            crl.Contrast("first ahead", "first", name="first", **contrast),
            crl.Contrast("second ahead", "second", name="second", **contrast),
            crl.Contrast("context ahead", "given", name="context", **contrast),
        ],
    )


def sequences(count: int) -> tuple[crl.View, Tensor]:
    states = wheel(count, LENGTH, STATES)
    return crl.View(coded(states, WORDS), {"instance": torch.arange(count)}), states


def state_shown(pipeline: crl.Pipeline, stage: str) -> float:
    pipeline.eval()
    found = []
    for _ in range(2):
        batch, states = sequences(40)
        with torch.no_grad():
            z = pipeline.embed({"sequence": batch}, stage)[stage].z
        found.append((z.flatten(0, 1), states.flatten()))
    return linear(*found)


def test_every_stage_shows_the_hidden_state() -> None:
    """Chance .25, raw frames .25 to .36, untrained .29 to .47, trained .9 to .98 over 3 seeds."""
    data, states = sequences(400)
    frames = data.data.flatten(0, 1)
    raw = linear((frames[:900], states.flatten()[:900]), (frames[900:1800], states.flatten()[900:1800]))
    pipeline = greedy_infomax().build(data)
    untrained = {stage: state_shown(pipeline, stage) for stage in STAGES}
    train(pipeline, slices(data, 16), steps=150)
    trained = {stage: state_shown(pipeline, stage) for stage in STAGES}
    assert raw < 0.4
    assert max(untrained.values()) < 0.65, untrained
    assert min(trained.values()) > 0.8, (untrained, trained)


def stage_of(name: str) -> str:
    """The stage whose contrast trains a parameter."""
    branch = name.split(".")[1]
    return branch.removesuffix(" ahead")


def test_a_stage_learns_from_its_own_contrast_alone() -> None:
    batch, _ = sequences(6)
    pipeline = greedy_infomax().build(batch).train()
    gradients = {}
    for alone in (*STAGES, None):
        for contrast in pipeline.contrasts:
            contrast.weight = 1.0 if alone in (contrast.name, None) else 0.0
        pipeline.zero_grad()
        torch.manual_seed(3)
        pipeline.loss(batch).total.backward()
        gradients[alone] = {name: p.grad.clone() for name, p in pipeline.named_parameters() if p.grad is not None}
    for name, together in gradients[None].items():
        for stage in STAGES:
            found = gradients[stage].get(name)
            if stage == stage_of(name):
                torch.testing.assert_close(found, together, msg=f"{name} is trained by {stage}")
                assert float(together.abs().max()) > 0, name
            else:
                assert found is None or not found.any(), f"{name} is moved by {stage}"


def test_without_the_stop_the_check_above_would_fail() -> None:
    batch, _ = sequences(6)
    pipeline = greedy_infomax().build(batch).train()
    pipeline.branches["second"].update = crl.Shared()
    pipeline.contrasts[0].weight = 0.0
    pipeline.loss(batch).total.backward()
    assert any(p.grad is not None and p.grad.any() for p in pipeline.branches["first"].encoder.parameters())


def test_what_a_late_stage_makes_of_items() -> None:
    batch, _ = sequences(6)
    pipeline = greedy_infomax().build(batch).eval()
    with torch.no_grad():
        z = pipeline.embed({"sequence": batch})["second"].z
    torch.testing.assert_close(pipeline.encode(batch, "second"), z.mean(1))


def test_the_promises() -> None:
    batch, _ = sequences(6)
    pipeline = greedy_infomax().build(batch).train()
    keeps_its_state(pipeline, has_a_spec(pipeline).build(batch), batch)
    case = pipeline.explain(batch, 2 * LENGTH * STEPS + 5 * STEPS + 1).cases[1]  # clip 2, time 5, two steps ahead
    assert (case.query["instance"], case.query["position"]) == (2, 7)
    assert [(columns["instance"], columns["position"]) for _, columns in case.positive.nearest] == [(2, 7)]
    assert case.negative.count == DRAWN
