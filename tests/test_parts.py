"""Heads, updates and memories alone, without a pipeline."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from crl_core import (
    MLP,
    CrlError,
    Embeddings,
    Frozen,
    Linear,
    Momentum,
    Prediction,
    Progress,
    Queue,
    Scheduled,
    Shared,
    StopGradient,
)

HEADS = [Linear(4), MLP(4), MLP(4, hidden=7, depth=3, norm=False), MLP(4, depth=1), Prediction(), Prediction(hidden=9)]


@pytest.mark.parametrize("head", HEADS, ids=repr)
def test_heads_are_made_for_what_they_see_and_take_local_features(head: nn.Module) -> None:
    head = copy.deepcopy(head)
    size = 6 if isinstance(head, Prediction) else 4
    flat = head(torch.randn(10, 6))
    assert flat.shape == (10, size)
    assert head(torch.randn(2, 5, 3, 6)).shape == (2, 5, 3, size)


@pytest.mark.parametrize("head", HEADS, ids=repr)
def test_heads_are_made_for_the_weights_they_load(head: nn.Module) -> None:
    made, fresh = copy.deepcopy(head), copy.deepcopy(head)
    made(torch.randn(10, 6))
    made.eval()
    assert fresh.load_state_dict(made.state_dict()).missing_keys == []
    x = torch.randn(3, 6)
    assert torch.equal(fresh.eval()(x), made(x))


def test_mlp_has_the_layers_that_it_was_asked_for() -> None:
    head = MLP(8, hidden=16, depth=3)
    head(torch.randn(4, 5))
    shapes = [tuple(layer.weight.shape) for layer in head.layers if isinstance(layer, nn.Linear)]
    assert shapes == [(16, 5), (16, 16), (8, 16)]
    assert sum(isinstance(layer, nn.BatchNorm1d) for layer in head.layers) == 2
    assert isinstance(head.layers[-1], nn.Linear), "an embedding is not rectified"


def test_a_part_keeps_float64() -> None:
    assert MLP(3)(torch.randn(4, 5, dtype=torch.float64)).dtype == torch.float64


def test_momentum_follows_its_law_exactly_and_has_no_gradient() -> None:
    module = nn.Linear(3, 2).double()
    update = Momentum(0.9)
    follower = update.follow(module)
    expected = [parameter.detach().clone() for parameter in module.parameters()]
    for step in range(5):
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(torch.randn_like(parameter))
        update.advance(module, follower, Progress(step, 5, 0, 1))
        expected = [0.9 * old + 0.1 * new.detach() for old, new in zip(expected, module.parameters(), strict=True)]
        for found, wanted in zip(follower.parameters(), expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=0, atol=1e-15)
    assert not any(parameter.requires_grad for parameter in follower.parameters())


def test_momentum_rises_along_half_a_cosine() -> None:
    update = Momentum(Scheduled(0.996, 1.0))
    for step in (0, 30, 50, 100):
        # Grill et al. 2020, section 3.3: 1 - (1 - τ) (cos(πk/K) + 1) / 2.
        expected = 1 - (1 - 0.996) * (math.cos(math.pi * step / 100) + 1) / 2
        assert update.at(Progress(step, 100, 0, 1)) == pytest.approx(expected)


@pytest.mark.parametrize("wrong", [1.5, -0.1, Scheduled(0.9, 2.0)])
def test_momentum_is_a_share(wrong: float | Scheduled) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        Momentum(wrong)


def test_what_follows_is_the_module_itself_or_a_copy() -> None:
    module = nn.Linear(2, 2)
    assert Shared().follow(module) is module
    assert StopGradient().follow(module) is module
    frozen = Frozen().follow(module)
    assert frozen is not module
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert all(parameter.requires_grad for parameter in module.parameters())


# -- the queue -------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(size=st.integers(1, 13), counts=st.lists(st.integers(0, 17), max_size=8), saved=st.integers(0, 8))
def test_the_queue_holds_the_last_keys_with_their_columns(size: int, counts: list[int], saved: int) -> None:
    queue, seen = Queue(size), []
    for i, count in enumerate(counts):
        first = len(seen)
        ids = torch.arange(first, first + count)
        queue.update(Embeddings(torch.stack([ids, -ids], 1).float(), {"instance": ids}))
        seen += ids.tolist()
        if i == saved:
            state, queue = queue.state_dict(), Queue(size)
            queue.load_state_dict(state)
    held = queue.keys()
    expected = seen[-size:]
    if not expected:
        assert held is None
        return
    assert held is not None
    assert sorted(held.meta["instance"].tolist()) == sorted(expected), (
        "wrap-around must drop the oldest, and only these"
    )
    torch.testing.assert_close(held.z[:, 0], held.meta["instance"].float())
    torch.testing.assert_close(held.z[:, 1], -held.meta["instance"].float())


def test_the_queue_keeps_no_gradient() -> None:
    queue = Queue(4)
    queue.update(Embeddings(torch.randn(2, 3, requires_grad=True), {}))
    held = queue.keys()
    assert held is not None
    assert not held.z.requires_grad


def test_the_queue_refuses_keys_with_other_columns() -> None:
    queue = Queue(4)
    queue.update(Embeddings(torch.zeros(2, 3), {"instance": torch.arange(2)}))
    with pytest.raises(CrlError, match=r"\bkeys\b.*\bcolumns instance\b.*\blabel\b"):
        queue.update(Embeddings(torch.zeros(2, 3), {"label": torch.arange(2)}))
