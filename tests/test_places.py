"""One part of a pipeline is exchanged; all others stay the very same."""

from __future__ import annotations

from typing import Any

import pytest
import small
import torch
from torch import Tensor, nn

import crl_core as crl
from crl_core import Branch, Contrast, CrlError, Penalty, Pipeline
from crl_core.method.places import slots


class Spread(nn.Module):
    takes = "embeddings"

    def forward(self, table: crl.Embeddings) -> Tensor:
        return -table.z.var(0).mean()


def rich() -> Pipeline:
    encoder = small.Perceptron(norm=False)
    return Pipeline(
        small.Noisy(),
        branches={
            "query": Branch("a", encoder=encoder, head=crl.Linear(6)),
            "key": Branch("b", tracks="query", update=crl.Momentum(0.9)),
            "shared": Branch("b", encoder=encoder),
            "each": Branch(("a", "b"), encoder={"a": small.Perceptron(), "b": small.Perceptron()}),
        },
        contrasts=[
            Contrast("query", "key", score=crl.Cosine(0.2), loss=crl.InfoNCE(), keys=crl.Queue(20)),
            Contrast("query", "key", loss=crl.Regression(), name="pull", weight=0.5),
        ],
        penalties=[Penalty("each", Spread())],
    )


def parts(pipeline: Pipeline) -> dict[str, Any]:
    return {place: slot.part for place, slot in slots(pipeline).items()}


def changed(before: Pipeline, after: Pipeline) -> list[str]:
    """The places where another part stands now."""
    new = parts(after)
    assert list(new) == list(parts(before))
    return [place for place, part in parts(before).items() if new[place] is not part]


@pytest.mark.parametrize(
    ("place", "part", "places"),
    [
        ("sampler", small.Noisy, ["sampler"]),
        ("score", "dot", ["score"]),
        ("contrasts.0.score", "dot", ["contrasts.0.score"]),
        ("contrasts.1.loss", crl.Regression(), ["contrasts.1.loss"]),
        ("contrasts.0.keys.0", crl.Queue(8), ["contrasts.0.keys.0"]),
        ("penalties.0.loss", Spread(), ["penalties.0.loss"]),
        ("head", crl.MLP(4), ["branches.query.head"]),
        ("branches.shared.head", crl.MLP(4), ["branches.shared.head"]),
        ("branches.query.encoder", small.Perceptron(), ["branches.query.encoder", "branches.shared.encoder"]),
        ("branches.shared.encoder", small.Perceptron(), ["branches.shared.encoder"]),
        ("branches.each.encoder.b", small.Perceptron(), ["branches.each.encoder.b"]),
        ("branches.key.update", crl.StopGradient(), ["branches.key.update"]),
        ("branches.query.head", None, ["branches.query.head"]),
    ],
)
def test_one_place_changes_and_no_other(place: str, part: Any, places: list[str]) -> None:
    before = rich()
    if place == "score":  # with one contrast, its kind is enough
        before, places = small.simclr(norm=False), ["contrasts.0.score"]
    kept = parts(before)
    after = before.replace(place, part)
    assert isinstance(after, Pipeline)
    assert changed(before, after) == places
    assert parts(before) == kept, "the pipeline itself is as it was"
    if isinstance(part, nn.Module) or part is None:
        assert parts(after)[places[0]] is part
    after.build(small.points())
    assert after.loss(small.points()).total.isfinite()


def test_what_is_not_concerned_is_the_very_same_branch_and_contrast() -> None:
    before = rich()
    after = before.replace("contrasts.0.loss", "info-nce", positives="inside")
    assert after.contrasts[0].loss.positives == "inside"  # type: ignore[attr-defined]
    assert (after.contrasts[0].weight, after.contrasts[1].weight) == (1.0, 0.5)
    assert after.contrasts[1] is before.contrasts[1]
    assert all(after.branches[name] is before.branches[name] for name in before.branches)


def test_a_branch_that_tracks_follows_the_new_encoder_and_keeps_its_copy_of_the_old_head() -> None:
    before = rich().build(small.points())
    copies = before.branches["key"].copies
    new = small.Perceptron(norm=False)
    after = before.replace("branches.query.encoder", new)
    assert list(after.branches["key"].copies) == ["head"]
    assert after.branches["key"].copies["head"] is copies["head"]
    after.build(small.points())
    followed = after.branches["key"].copies["encoder"]
    torch.testing.assert_close(dict(followed.named_parameters()), dict(new.named_parameters()))
    assert before.branches["key"].copies["encoder"] is copies["encoder"]


def test_an_encoder_that_is_no_longer_frozen_trains() -> None:
    frozen = Pipeline(
        small.Noisy(),
        branches={"query": Branch(("a", "b"), encoder=small.Perceptron(norm=False), update="frozen")},
        contrasts=[Contrast("query", "query", loss="info-nce", positive='same("instance") & ~same("row")')],
    )
    thawed = frozen.replace("update", "shared").train()
    thawed.loss(small.points()).total.backward()
    assert all(parameter.grad is not None for parameter in thawed.parameters())


def test_state_and_mode_go_along_and_a_memory_gets_what_it_is_due() -> None:
    before = rich().build(small.points())
    before.loss(small.points())
    before.on_step()
    assert len(before.contrasts[0].memories[0].keys()) == 12  # type: ignore[arg-type]
    before.loss(small.points(5))  # keys are waiting
    after = before.eval().replace("contrasts.0.loss", crl.InfoNCE("inside"))
    assert not after.training
    assert after.steps == before.steps == 1
    held = after.contrasts[0].memories[0].keys()
    assert held is not None
    assert len(held) == 17


def test_the_short_form_is_the_spec_with_one_line_changed() -> None:
    before = small.simclr()
    after = before.replace("loss", "info-nce", positives="inside")
    assert [str(change) for change in crl.diff(before, after)] == ["contrasts.0.loss.positives: outside → inside"]


@pytest.mark.parametrize(
    ("place", "part", "said"),
    [
        ("loss", crl.InfoNCE(), r"'loss'.*\b3 places\b.*\bcontrasts\.0\.loss, contrasts\.1\.loss, penalties\b"),
        ("contrasts.0.los", crl.InfoNCE(), r"'contrasts\.0\.los'.*\bsampler, .*'contrasts\b"),
        ("contrasts.2.loss", crl.InfoNCE(), "no place 'contrasts.2.loss'"),
        ("branches.key.encoder", small.Perceptron(), r"\bone of\b.*\bencoder\b.*\btracks\b"),
        ("contrasts.0.loss", crl.Cosine(), r"\bCosine\b.*\bloss\b.*\btakes\b"),
        ("contrasts.0.loss", "info-nec", r"\bloss\b.*'info-nec'.*'info-nce'"),
        ("contrasts.0.loss", None, r"\bNone\b.*\bloss\b"),
        ("contrasts.0.loss", Spread(), r"\bSpread\b.*\bembeddings\b.*\bPenalty\b"),
        ("contrasts.0.memory", crl.Queue(8), "no place 'contrasts.0.memory'"),
        ("contrasts.1.keys.0", crl.Queue(8), "no place 'contrasts.1.keys.0'"),
        ("contrasts.0.keys.0", crl.Cosine(), r"\bCosine\b.*\bkeys\b"),
        ("contrasts.0.keys.0", None, r"\bNone\b.*\bkeys\b"),
        ("penalties.0.loss", crl.InfoNCE(), r"\bpenalty\b.*\bloss\b.*\bembeddings\b"),
        ("branches.query.update", crl.Momentum(0.9), r"\bMomentum\b.*\bbranch\b"),
    ],
)
def test_what_can_not_stand_there_is_told(place: str, part: Any, said: str) -> None:
    with pytest.raises(CrlError, match=said):
        rich().replace(place, part)
