"""Deep InfoMax, local (Hjelm et al. 2019): an image's global vector against its own and others' local maps."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from compositions.structure import coded, codes, linear, slices, train
from torch import Tensor, nn

import crl_core as crl

CLASSES, WORDS, PLACES = 6, codes(6, 8), 9


class Images:
    views = ("image",)

    def __call__(self, batch: crl.View) -> dict[str, crl.View]:
        return {"image": batch}

    def clean(self, batch: crl.View) -> crl.View:
        return batch


class Maps(nn.Module):
    """The local map is taken before the global vector, which is made of it."""

    def __init__(self) -> None:
        super().__init__()
        self.local = nn.Sequential(nn.Linear(16, 128), nn.ReLU(), nn.Linear(128, 32))
        self.whole = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 32))

    def forward(self, patches: Tensor) -> dict[str, Tensor]:
        local = self.local(patches)
        return {"local": local, "global": self.whole(local).mean(1)}


class JensenShannon(nn.Module):
    """E softplus(-s) over positives + E softplus(s) over negatives (Hjelm et al. 2019, equation 4)."""

    takes = "scores"

    def forward(self, scores: crl.Scores) -> Tensor:
        positive, negative = scores.positive, scores.negative
        return (
            positive.sum(lambda s: F.softplus(-s)) / positive.count().clamp(min=1)
            + negative.sum(F.softplus) / negative.count().clamp(min=1)
        )  # fmt: skip


def dim() -> crl.Pipeline:
    return crl.Pipeline(
        Images,
        branches={
            "image": crl.Branch("image", encoder=Maps()),
            "global": crl.Branch(tap="image.global", head=crl.MLP(32, hidden=64, norm=False)),
            "local": crl.Branch(tap="image.local", head=crl.MLP(32, hidden=64, norm=False)),
        },
        contrasts=[crl.Contrast("global", "local", loss=JensenShannon(), negative=~crl.same("instance"))],
    )


def images(count: int) -> tuple[crl.View, Tensor]:
    classes = torch.randint(0, CLASSES, (count,))
    return crl.View(coded(classes[:, None].expand(-1, PLACES), WORDS, 0.15), {"instance": torch.arange(count)}), classes


def class_shown(pipeline: crl.Pipeline) -> float:
    (a, ya), (b, yb) = images(400), images(400)
    return linear((pipeline.encode(a), ya), (pipeline.encode(b), yb))


def test_the_global_vector_shows_what_all_places_share() -> None:
    data, classes = images(1_000)
    raw = linear((data.data[:500].flatten(1), classes[:500]), (data.data[500:].flatten(1), classes[500:]))
    pipeline = dim()
    untrained = class_shown(pipeline.build(data))
    losses = train(pipeline, slices(data, 64), steps=200)
    trained = class_shown(pipeline)
    assert raw < 0.3, "chance is .17"
    assert untrained < 0.75
    assert trained > 0.9, (raw, untrained, trained)
    assert losses[-1] < losses[0] - 0.2


def test_at_equal_scores_the_loss_is_two_logarithms_of_two() -> None:
    scores = crl.Scores.of(torch.zeros(4, 4), torch.eye(4, dtype=torch.bool))
    torch.testing.assert_close(JensenShannon()(scores), torch.full((4,), 2 * math.log(2)))


def test_negatives_are_the_other_images_positions() -> None:
    data, _ = images(5)
    case = dim().build(data).explain(data, 3).cases[0]
    assert (case.positive.count, case.negative.count, case.neither) == (PLACES, 4 * PLACES, 0)
    assert {columns["instance"] for _, columns in case.positive.nearest} == {3}
