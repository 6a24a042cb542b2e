"""Checks of optimisers."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ...contracts.parts import Progress
from ...engine.optimisers import load_optimiser_state, make_optimisers, moved_by, optimiser_state, set_rates
from ...engine.training import Training
from ...parts.schedules.constant import Constant
from ..outcome import Skips, all_same, expect, finite
from ..plugin import Case

_AT = Progress(0, 100, 0, 1)


def says_what_it_takes(case: Case) -> None:
    """`sparse` is "no", "yes" or "only"."""
    found = case.make().sparse
    expect(found in ("no", "yes", "only"), f'sparse is {found!r}, and not "no", "yes" or "only"')


def moves_every_weight(case: Case) -> None:
    """One step moves every weight that has a gradient; all stay finite."""
    module = _layers(case)
    (optimiser,) = _made(case, module)
    before = [weight.clone() for weight in module.parameters()]
    _step(module, [optimiser])
    still = [
        name for (name, weight), old in zip(module.named_parameters(), before, strict=True) if torch.equal(weight, old)
    ]
    expect(not still, f"a step leaves {', '.join(still)} where it was")
    finite(module.parameters(), "the weights after a step")


def lowers_a_loss(case: Case) -> None:
    """A hundred steps lower the loss of a small problem."""
    module = _layers(case)
    optimisers = _made(case, module)
    losses = [_step(module, optimisers) for _ in range(100)]
    expect(losses[-1] < losses[0], f"the loss was {losses[0]:.4g}, and is {losses[-1]:.4g} after 100 steps")


def moves_nothing_without_a_rate(case: Case) -> None:
    """If its groups have the rate 0, as a schedule may set it, no weight moves."""
    module = _layers(case)
    optimisers = _made(case, module)
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = 0.0
    before = [weight.clone() for weight in module.parameters()]
    _step(module, optimisers, rated=False)
    all_same(module.parameters(), before, "the weights after a step at the rate 0", rtol=0, atol=0)


def decays_no_vectors(case: Case) -> None:
    """In groups with `weight_decay` 0 (biases and normalisation), a weight without gradient doesn't move."""
    module = _layers(case)
    vectors = {name: weight for name, weight in module.named_parameters() if weight.dim() <= 1}
    if not vectors:
        raise Skips("it takes only sparse gradients")
    with torch.no_grad():
        for weight in vectors.values():
            weight.fill_(2.0)
    optimisers, before = _made(case, module), [weight.clone() for weight in vectors.values()]
    hooks = [weight.register_hook(torch.zeros_like) for weight in vectors.values()]
    for _ in range(3):
        _step(module, optimisers)
    for held in hooks:
        held.remove()
    all_same(vectors.values(), before, f"{', '.join(vectors)} without a gradient, after three steps", rtol=0, atol=0)


def takes_sparse_gradients_as_it_says(case: Case) -> None:
    """If `sparse` says that it takes sparse gradients, it moves the rows with a gradient, and no others."""
    table = nn.Embedding(6, 3, sparse=True)
    if case.make().sparse == "no":
        raise Skips("it takes no sparse gradients")
    before = table.weight.detach().clone()
    (optimiser,) = _made(case, table)
    set_rates([optimiser], _AT)
    table(torch.tensor([1, 4])).square().sum().backward()
    optimiser.step()
    moved = (table.weight != before).any(1).nonzero().flatten().tolist()
    expect(moved == [1, 4], f"of a table it moves the rows {moved}, where the gradient is of 1 and 4")


def goes_on_from_its_state(case: Case) -> None:
    """A new one that loads the state continues as the old one: its state is complete."""
    one, other = _layers(case), _layers(case)
    first, second = _made(case, one), _made(case, other)
    for _ in range(3):
        _step(one, first)
    other.load_state_dict(one.state_dict())
    load_optimiser_state(second, copy.deepcopy(optimiser_state(first)))
    for _ in range(2):
        _step(one, first)
        _step(other, second)
    all_same(other.parameters(), one.parameters(), "the weights after two more steps", rtol=0, atol=0)


def _layers(case: Case) -> nn.Module:
    """Weights with gradients that it takes."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        table = nn.Embedding(6, 4, sparse=case.make().sparse == "only")
        return table if table.sparse else nn.Sequential(table, nn.Linear(4, 4))


def _made(case: Case, module: nn.Module) -> list[Optimizer]:
    training: Any = Training(optimiser=case.make(), schedule=Constant())
    return make_optimisers(module, training)


def _step(module: nn.Module, optimisers: list[Optimizer], rated: bool = True) -> float:
    if rated:
        set_rates(optimisers, _AT)
    found: Tensor = module(torch.arange(6))
    loss = (found - 0.5).square().mean()
    loss.backward()
    for optimiser in optimisers:
        optimiser.step()
    for weight in moved_by(optimisers):
        weight.grad = None
    return float(loss.detach())
