"""Checks of updates."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ...contracts.parts import Progress, Update
from ...data.view import View
from ...method.branch import Branch
from ...method.contrast import Contrast
from ...method.pipeline import Pipeline
from ...parts.losses.info_nce import InfoNCE
from ..outcome import all_same, expect
from ..plugin import Case

_AT = [Progress(step, 10, step // 5, 2) for step in (0, 5, 10)]


def starts_the_same(case: Case) -> None:
    """`follow` gives the module itself, or a copy that computes the same and shares no memory."""
    update, module, data = case.make(), _layers(), torch.randn(6, 4)
    follower = update.follow(module)
    expect(isinstance(follower, nn.Module), f"follow() gives a {type(follower).__name__}")
    all_same([follower.eval()(data)], [module.eval()(data)], "what the follower computes at the start")
    if follower is not module:
        shared = {x.data_ptr() for x in module.state_dict().values()} & {
            x.data_ptr() for x in follower.state_dict().values()
        }
        expect(not shared, "the copy shares memory with what it follows")


def lets_no_gradient_through(case: Case) -> None:
    """`gradient` is right: if False, no weight of the follower trains; if True, the module itself trains."""
    update, module = case.make(), _layers()
    follower = update.follow(module)
    trainable = [name for name, weight in follower.named_parameters() if weight.requires_grad]
    if follower is not module:
        expect(
            not trainable, f"an optimiser would train the copy too: requires_grad_(False) for {', '.join(trainable)}"
        )
        expect(not update.gradient, "gradient is True, but what follows is a copy, whose gradient nobody uses")
    tracked = _branch(update, module)
    found = tracked({"b": View(torch.randn(6, 4))}, {"query": _query(module)}, {}, {}).z
    expect(found.requires_grad == update.gradient, f"gradient is {update.gradient}, and what follows says otherwise")


def leaves_the_followed_alone(case: Case) -> None:
    """`advance` changes nothing of the module that is followed."""
    update, module = case.make(), _layers()
    follower = update.follow(module)
    before = [x.clone() for x in module.state_dict().values()]
    for progress in _AT:
        update.advance(module, follower, progress)
    all_same(module.state_dict().values(), before, "the followed module after advance()", rtol=0, atol=0)
    expect(all(weight.requires_grad for weight in module.parameters()), "the followed module is no longer trained")


def advances_towards_the_followed(case: Case) -> None:
    """A copy that is equal to the module stays equal; another one doesn't move away from the module."""
    update, module = case.make(), _layers()
    follower = update.follow(module)
    for progress in _AT:
        update.advance(module, follower, progress)
    all_same(_weights(follower), _weights(module), "a copy that was equal, after advance()")
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(1.0)
    for progress in _AT:
        before = _distance(follower, module)
        update.advance(module, follower, progress)
        after = _distance(follower, module)
        expect(after <= before * 1.0001, f"after advance() the copy is {after:.4g} away, before it was {before:.4g}")
    expect(all(x.is_leaf for x in follower.parameters()), "advance() builds a graph: decorate it with torch.no_grad")


def works_without_weights(case: Case) -> None:
    """A module without weights can be followed too."""
    update, module = case.make(), nn.Identity()
    follower = update.follow(module)
    update.advance(module, follower, _AT[0])
    expect(follower is module or isinstance(follower, nn.Identity), f"follow() gives a {type(follower).__name__}")


def works_in_a_branch(case: Case) -> None:
    """In a pipeline whose key branch uses it, three steps of training stay finite."""
    pipeline = Pipeline(
        _TwoViews(),
        branches={"query": Branch("a", encoder=_layers()), "key": _branch(case.make())},
        contrasts=[Contrast("query", "key", loss=InfoNCE())],
    )
    batch = View(torch.randn(6, 4), {"instance": torch.arange(6)})
    optimiser = torch.optim.SGD(pipeline.build(batch).parameters(), lr=0.01)
    for _ in range(3):
        optimiser.zero_grad()
        pipeline.loss(batch).total.backward()
        optimiser.step()
        pipeline.on_step()
    expect(all(bool(weight.isfinite().all()) for weight in pipeline.parameters()), "after three steps, weights are NaN")


class _TwoViews:
    views = ("a", "b")

    def __call__(self, batch: View) -> dict[str, View]:
        return {name: View(batch.data + 0.1 * torch.randn_like(batch.data), batch.meta) for name in self.views}

    def clean(self, batch: View) -> View:
        return batch


def _layers() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))


def _query(module: nn.Module) -> Branch:
    return Branch("a", encoder=module)


def _branch(update: Update, module: nn.Module | None = None) -> Branch:
    branch = Branch("b", tracks="query", update=update)
    if module is not None:
        branch.follow(_query(module))
    return branch


def _weights(module: nn.Module) -> list[Tensor]:
    return [weight.detach() for weight in module.parameters()]


def _distance(one: nn.Module, other: nn.Module) -> float:
    pairs = zip(_weights(one), _weights(other), strict=True)
    return math.sqrt(sum(float((a - b).pow(2).sum()) for a, b in pairs))
