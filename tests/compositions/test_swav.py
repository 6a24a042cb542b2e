"""Swapped assignments (Caron et al. 2020, SwAV): a crop predicts to which prototypes another crop is assigned."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from compositions.parts_heads import Unit
from compositions.parts_promises import has_a_spec, keeps_its_state
from compositions.parts_scenes import Perceptron, Scenes, otherwise, seen
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor, nn

import crl_core as crl
from crl_core import Progress, View, same
from crl_core.parts.losses import swapped_assignment
from crl_core.parts.losses.swapped_assignment import sinkhorn

PROTOTYPES, WIDTH = 24, 16


class Crops:
    """Large crops show four patches of a scene, small ones two; each patch with nuisance of its own."""

    views: ClassVar[tuple[str, ...]] = ("large 1", "large 2", "small 1", "small 2", "small 3")

    def __call__(self, batch: View) -> dict[str, View]:
        return {name: View(_patches(batch.data, 4 if "large" in name else 2), batch.meta) for name in self.views}

    def clean(self, batch: View) -> View:
        return View(seen(batch.data).unsqueeze(1), batch.meta)


def _patches(scenes: Tensor, count: int) -> Tensor:
    return seen(otherwise(scenes.unsqueeze(1).expand(-1, count, -1)))


class Pooled(nn.Module):
    """Any number of patches, each by itself, then their mean: `[N, T, SEEN]` to `[N, size]`."""

    def __init__(self, size: int = 32) -> None:
        super().__init__()
        self.size = size
        self.patch = Perceptron(size=size)

    def forward(self, data: Tensor) -> Tensor:
        output: Tensor = self.patch(data).mean(1)
        return output


crl.register("sampler", "crops", Crops)
crl.register("encoder", "pooled", Pooled)


def swav() -> crl.Pipeline:
    """The large crops alone are assigned; all crops predict the assignments of the other large ones."""
    return crl.Pipeline(
        Crops,
        branches={
            "large": crl.Branch(Crops.views[:2], encoder=Pooled(), head=Unit(crl.MLP(WIDTH, hidden=64, norm=False))),
            "small": crl.Branch(Crops.views[2:], tracks="large"),
        },
        contrasts=[
            crl.Contrast(
                ("large", "small"), "large", loss=crl.SwappedAssignment(PROTOTYPES, WIDTH),
                positive=same("instance") & ~same("row"),
            )
        ],
    )  # fmt: skip


def fitted(pipeline: crl.Pipeline, source: Scenes, epochs: int) -> crl.Pipeline:
    training = crl.Training(
        epochs=epochs, batch_size=128, optimiser=crl.AdamW(3e-3), schedule=crl.CosineDecay(warmup=1)
    )
    return crl.fit(pipeline, source, training, accelerator="cpu", show=False).pipeline


def some(source: Scenes, split: str, count: int) -> View:
    return source.items(split).__getitems__(list(range(count)))


def classes_shown(pipeline: crl.Pipeline, source: Scenes) -> float:
    """The share of test scenes, one patch each, whose class their nearest training scenes know."""
    train, test = (some(source, split, source.count) for split in source.splits)
    neighbours = KNeighborsClassifier(15).fit(pipeline.encode(train), train.meta["label"])
    return float(neighbours.score(pipeline.encode(test), test.meta["label"]))


@torch.no_grad()
def most_used(pipeline: crl.Pipeline, batch: View) -> float:
    """The share of crops that lie nearest to the prototype which most lie nearest to."""
    table = pipeline.embed(pipeline.sampler(batch))["large"].z @ pipeline.contrasts[0].loss.table.T
    return float(torch.bincount(table.argmax(1)).max() / len(table))


def test_scenes_of_a_class_meet() -> None:
    """Chance .125, untrained .63 to .68, trained .81 to .89 over 3 seeds; the prototype used most has .08 to .1."""
    source, pipeline = Scenes(), swav()
    untrained = classes_shown(pipeline, source)
    fitted(pipeline, source, epochs=20)
    trained = classes_shown(pipeline, source)
    assert untrained < 0.72
    assert trained > 0.8, (untrained, trained)
    assert most_used(pipeline, some(source, "test", 512)) < 0.2
    table = pipeline.contrasts[0].loss.table
    torch.testing.assert_close(table.norm(dim=1), torch.ones(PROTOTYPES))


def test_without_equal_shares_all_crops_go_to_one_prototype(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        swapped_assignment, "sinkhorn", lambda scores, epsilon, iterations: (scores / epsilon).softmax(1)
    )
    source, pipeline = Scenes(), swav()
    fitted(pipeline, source, epochs=5)
    assert most_used(pipeline, some(source, "test", 512)) > 0.9


# -- the recipe --------------------------------------------------------------------------------------------


def test_the_term_is_the_sources_loop_over_crops() -> None:
    batch = some(Scenes(), "train", 10)
    pipeline = swav().build(batch)
    losses = pipeline.loss(batch)
    loss = pipeline.contrasts[0].loss
    crops = [z for name in ("large", "small") for z in losses.embeddings[name].z.split(10)]
    targets = sinkhorn(torch.cat(crops[:2]).detach() @ loss.table.T.detach(), 0.05, 3).split(10)
    terms = []
    for i, target in enumerate(targets):
        for j, crop in enumerate(crops):
            if i != j:
                terms.append(F.cross_entropy(crop @ loss.table.T / 0.1, target))
    torch.testing.assert_close(losses.total, torch.stack(terms).mean())


def test_assignments_have_no_gradient() -> None:
    loss = crl.SwappedAssignment(5, 4)
    query, key = (F.normalize(torch.randn(8, 4), dim=1).requires_grad_() for _ in range(2))
    loss(query, key).mean().backward()
    assert key.grad is None
    assert query.grad is not None
    assert loss.table.grad is not None


def test_prototypes_wait_for_the_first_epoch_and_have_length_one_after_each_step() -> None:
    batch = some(Scenes(), "train", 64)
    pipeline = swav().build(batch)
    table = pipeline.contrasts[0].loss.table
    optimiser = torch.optim.AdamW(pipeline.parameters(), 1e-2, weight_decay=0.1)
    moved = []
    for epoch in range(2):
        pipeline.on_epoch(Progress(epoch * 3, 6, epoch, 2), embed=lambda branch: pytest.fail("asks for nothing"))
        before = table.detach().clone()
        for _ in range(3):
            optimiser.zero_grad()
            pipeline.loss(batch).total.backward()
            optimiser.step()
            pipeline.on_step()
            torch.testing.assert_close(table.detach().norm(dim=1), torch.ones(PROTOTYPES))
        moved.append(float((table.detach() - before).abs().max()))
    assert moved[0] < 1e-6
    assert moved[1] > 1e-3


def test_the_promises() -> None:
    source = Scenes(count=256)
    batch = some(source, "train", 32)
    pipeline = fitted(swav(), source, epochs=1).train()
    again = has_a_spec(pipeline)
    keeps_its_state(pipeline, again, batch)
    assert again.contrasts[0].loss.held, "a run that goes on within the first epoch still holds the prototypes"
    assert not pipeline.diagnose(batch).warnings
    large = pipeline.explain(batch, 3).cases[0]
    assert (large.query["instance"], large.query["view"]) == (3, 0)
    assert [(columns["instance"], columns["view"]) for _, columns in large.positive.nearest] == [(3, 1)]
    small = pipeline.explain(batch, 4 * 32 + 5).cases[0]
    assert (small.query["instance"], small.query["view"]) == (5, 4)
    found = [(columns["instance"], columns["view"]) for _, columns in small.positive.nearest]
    assert sorted(found) == [(5, 0), (5, 1)], "both large crops, and no small one"
