"""Checks of all parts that compute with tensors."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from ..elsewhere import Elsewhere, UnsaidIsElsewhere
from ..outcome import Skips, all_same, expect
from ..plugin import Case
from ..subject import built, floating, in_double, inputs_of, outputs, with_weights
from ..trees import mapped, tensors_in


def deterministic_under_a_seed(case: Case) -> None:
    """The same seed of torch gives the same numbers."""
    found = []
    for _ in range(2):
        part, inputs = case.make(), _seeded(lambda: inputs_of(case))
        found.append(_seeded(lambda part=part, inputs=inputs: outputs(case, part, inputs)))
    all_same(found[1], found[0], "the second time with the same seed", rtol=0, atol=0)


def _seeded(function: Any) -> Any:
    torch.manual_seed(3)
    return function()


def leaves_the_generators_alone(case: Case) -> None:
    """It draws from torch's generator only, and never seeds it."""
    inputs, part = inputs_of(case), case.make()
    others = _others()
    drawn = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        outputs(case, part, inputs)
        drawn.append(torch.rand(8))
    expect(not torch.equal(*drawn), "after it, torch's random numbers don't depend on the seed: it sets its own seed")
    expect(_others() == others, "it draws from Python's or NumPy's random numbers, which a run doesn't seed")


def _others() -> str:
    return repr((random.getstate(), np.random.get_state()))


def leaves_its_inputs_alone(case: Case) -> None:
    """It doesn't change its inputs."""
    inputs, part = inputs_of(case), case.make()
    before = [tensor.clone() for tensor in tensors_in(inputs)]
    outputs(case, part, inputs)
    all_same(tensors_in(inputs), before, "what it was handed, afterwards", rtol=0, atol=0)


def makes_tensors_where_its_data_are(case: Case) -> None:
    """All tensors that it makes are on the device of its data."""
    part = built(case) if case.part.kind != "sampler" else case.make()
    inputs = inputs_of(case)
    if torch.cuda.is_available():
        inputs = mapped(Tensor.cuda, inputs)
        part = part.cuda() if isinstance(part, nn.Module) else part
        devices = {tensor.device.type for tensor in outputs(case, part, inputs)}
        expect(devices == {"cuda"}, f"of data on cuda it makes something on {', '.join(sorted(devices - {'cuda'}))}")
        return
    with UnsaidIsElsewhere():
        found = outputs(case, part, inputs)
    lost = any(isinstance(tensor, Elsewhere) for tensor in found)
    expect(not lost, "it returns a tensor that was made on the CPU, wherever the data are: device=data.device")


def gradient_is_right(case: Case) -> None:
    """Its gradient, with respect to inputs and weights, is that of finite differences in float64."""
    part, inputs = in_double(case)
    moving = {name: weight.detach() for name, weight in part.named_parameters() if weight.requires_grad}
    directions = [_direction(x) for x in floating(list(tensors_in(inputs)))]
    turned = {name: _direction(weight) for name, weight in moving.items()}
    mixed = [torch.randn_like(x) for x in floating(outputs(case, part, inputs))]

    def along(t: Tensor) -> Tensor:
        """A random sum of its outputs, with inputs and weights moved by `t` in random directions."""
        torch.manual_seed(3)
        ways = iter(directions)
        moved = tuple(mapped(lambda x: x + t * next(ways) if x.is_floating_point() else x, item) for item in inputs)
        weights = {name: weight + t * turned[name] for name, weight in moving.items()}
        found = floating(outputs(case, with_weights(part, weights), moved))
        total: Tensor = torch.stack([(x * share).sum() for x, share in zip(found, mixed, strict=True)]).sum()
        return total

    expect(bool(directions or turned), "it has neither weights nor an input with a gradient")
    start = torch.zeros((), dtype=torch.float64, requires_grad=True)
    expect(along(start).requires_grad, "what it returns has no gradient")
    torch.autograd.gradcheck(along, (start,), rtol=1e-3, atol=1e-6)


def _direction(like: Tensor) -> Tensor:
    """A random direction of length 1."""
    way = torch.randn_like(like)
    found: Tensor = way / way.norm().clamp(min=1e-12)
    return found


def state_through_safetensors(case: Case) -> None:
    """Its state is tensors by name, which a new one can load from a safetensors file."""
    part, inputs = built(case), inputs_of(case)
    torch.manual_seed(3)
    outputs(case, part.train(), inputs)  # running statistics are state too
    state = {name: tensor.detach().clone().contiguous() for name, tensor in part.state_dict().items()}
    fresh: nn.Module = case.make(seed=1)
    fresh.load_state_dict(load(save(state)))
    found = _seeded(lambda: outputs(case, fresh.eval(), inputs))
    all_same(found, _seeded(lambda: outputs(case, part.eval(), inputs)), "a fresh one with the loaded state")


def compiles_without_breaks(case: Case) -> None:
    """`torch.compile` compiles it without graph breaks."""
    part, inputs = built(case), inputs_of(case)
    try:
        compiled = torch.compile(part, backend="eager", fullgraph=True)
    except RuntimeError as error:  # a Python that is too new, a system without it
        raise Skips(f"torch.compile doesn't work here: {error}") from error
    plain = _seeded(lambda: outputs(case, part, inputs))
    try:
        found = _seeded(lambda: outputs(case, compiled, inputs))
    finally:
        torch.compiler.reset()
    all_same(found, plain, "compiled")
