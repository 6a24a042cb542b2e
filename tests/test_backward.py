"""The gradient term by term: that of the sum, with the memory of one term."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import pytest
import torch
from small import Noisy, byol, moco, points, simclr
from torch import Tensor, nn

import crl_core as crl
from crl_core import Branch, Contrast, Pipeline, same

STAGES = 4


class Stage(nn.Module):
    """One stage of a network, as wide as it comes."""

    def __init__(self, width: int, inner: int = 400) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, inner), nn.ReLU(), nn.Linear(inner, 16), nn.Tanh())

    def forward(self, data: Tensor) -> Tensor:
        found: Tensor = self.layers(data)
        return found


def greedy() -> Pipeline:
    """Each stage has a loss of its own, and no gradient from the next (Greedy InfoMax, Löwe et al. 2019)."""
    branches = {"stage 0": Branch(("a", "b"), encoder=Stage(5))}
    for i in range(1, STAGES):
        branches[f"stage {i}"] = Branch(tap=f"stage {i - 1}", head=Stage(16), update=crl.StopGradient())
    contrasts = [
        Contrast(name, name, score=crl.Cosine(0.2), loss=crl.InfoNCE(), positive=same("instance") & ~same("row"))
        for name in branches
    ]
    return Pipeline(Noisy(), branches=branches, contrasts=contrasts)


def gradients(pipeline: Pipeline, backward: Callable[[Pipeline], object]) -> dict[str, Tensor]:
    torch.manual_seed(1)
    pipeline.zero_grad()
    backward(pipeline)
    return {name: x.grad.clone() for name, x in pipeline.named_parameters() if x.grad is not None}


@pytest.mark.parametrize("make", [greedy, simclr, moco, byol])
def test_the_gradient_is_that_of_the_sum(make: Callable[[], Pipeline]) -> None:
    batch = points(24)
    pipeline = make().build(batch)
    wanted = gradients(pipeline, lambda p: p.loss(batch).total.backward())
    found = gradients(pipeline, lambda p: p.backward(batch))
    assert wanted.keys() == found.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, msg=name)


def test_terms_with_a_gradient_in_common_stay_together() -> None:
    pipeline = greedy()
    views = pipeline.draw(points())
    assert [[term.name for term in terms] for terms in pipeline.components(None, views)] == [
        [f"stage {i}"] for i in range(STAGES)
    ]
    pipeline.branches["stage 2"].update = crl.Shared()
    assert [len(terms) for terms in pipeline.components(None, views)] == [1, 2, 1]


class Held:
    """Counts the numbers that autograd keeps for the way back."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def pack(self, tensor: Tensor) -> object:
        box = [tensor]
        holder = _Box(box)
        self.now += tensor.numel()
        self.most = max(self.most, self.now)
        weakref.finalize(holder, self._freed, tensor.numel())
        return holder

    def _freed(self, numel: int) -> None:
        self.now -= numel


class _Box:
    def __init__(self, box: list[Tensor]) -> None:
        self.box = box


def most_held(pipeline: Pipeline, backward: Callable[[Pipeline], object]) -> int:
    held = Held()
    with torch.autograd.graph.saved_tensors_hooks(held.pack, lambda holder: holder.box[0]):
        gradients(pipeline, backward)
    return held.most


def test_it_keeps_one_stage_at_a_time() -> None:
    batch = points(64)
    pipeline = greedy().build(batch)
    whole = most_held(pipeline, lambda p: p.loss(batch).total.backward())
    apart = most_held(pipeline, lambda p: p.backward(batch))
    assert apart < 0.45 * whole


def test_fit_trains_what_it_trains_in_one() -> None:
    from small import Points

    training = crl.Training(epochs=2, batch_size=16, log_every=1)
    pipeline = greedy()
    fitted = crl.fit(pipeline, Points(), training, accelerator="cpu", devices=1, show=False)
    assert set(fitted.metrics[0]) >= {f"loss/stage {i}" for i in range(STAGES)}
