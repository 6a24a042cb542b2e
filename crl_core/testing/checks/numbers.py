"""What holds for everything that computes with tensors."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from ..outcome import Skips, all_same, expect
from ..plugin import Case
from ..subject import built, floating, in_double, inputs_of, outputs, with_weights
from ..trees import mapped, tensors_in

_CPU_MADE = "made on the CPU and moved: only with an accelerator could one see whether they arrive"


def deterministic_under_a_seed(case: Case) -> None:
    """The same seed of torch gives the same numbers."""
    found = []
    for _ in range(2):
        part, inputs = case.make(), _seeded(lambda: inputs_of(case))
        found.append(_seeded(lambda part=part, inputs=inputs: outputs(case, part, inputs)))  # type: ignore[misc]
    all_same(*found, "the second time with the same seed", rtol=0, atol=0)


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
    expect(
        not torch.equal(*drawn), "after it, torch's random numbers are the same whatever the seed was: it seeds them"
    )
    expect(_others() == others, "it draws from Python's or NumPy's random numbers, which a run doesn't seed")


def _others() -> str:
    return repr((random.getstate(), np.random.get_state()))


def leaves_its_inputs_alone(case: Case) -> None:
    """What it is handed is not changed."""
    inputs, part = inputs_of(case), case.make()
    before = [tensor.clone() for tensor in tensors_in(inputs)]
    outputs(case, part, inputs)
    all_same(tensors_in(inputs), before, "what it was handed, afterwards", rtol=0, atol=0)


def makes_tensors_where_its_data_are(case: Case) -> None:
    """Everything it makes is made on the device of its data."""
    part = built(case) if case.part.kind != "sampler" else case.make()
    inputs = inputs_of(case)
    if torch.cuda.is_available():
        inputs = mapped(Tensor.cuda, inputs)
        part = part.cuda() if isinstance(part, nn.Module) else part
        devices = {tensor.device.type for tensor in outputs(case, part, inputs)}
        expect(devices == {"cuda"}, f"of data on cuda it makes something on {', '.join(sorted(devices - {'cuda'}))}")
        return
    # Where nobody says otherwise, tensors are now made on a device that holds no numbers.
    try:
        with torch.device("meta"):
            found = outputs(case, part, inputs)
    except NotImplementedError as error:
        raise Skips(_CPU_MADE) from error
    except (RuntimeError, TypeError) as error:
        if "generator" in str(error) or "numpy" in str(error):
            raise Skips(_CPU_MADE) from error
        expect("meta" not in str(error), f"it makes a tensor without saying where: device=data.device ({error})")
        raise
    expect(all(not x.is_meta for x in found), "it makes a tensor without saying where: device=data.device")


def gradient_is_right(case: Case) -> None:
    """Its gradient, by its inputs and its weights, is that of finite differences in float64."""
    part, inputs = in_double(case)
    moving = {name: weight.detach() for name, weight in part.named_parameters() if weight.requires_grad}
    directions = [torch.randn_like(x) for x in floating(list(tensors_in(inputs)))]
    turned = {name: torch.randn_like(weight) for name, weight in moving.items()}

    def along(t: Tensor) -> tuple[Tensor, ...]:
        torch.manual_seed(3)
        ways = iter(directions)
        moved = tuple(mapped(lambda x: x + t * next(ways) if x.is_floating_point() else x, item) for item in inputs)
        weights = {name: weight + t * turned[name] for name, weight in moving.items()}
        return tuple(floating(outputs(case, with_weights(part, weights), moved)))

    expect(bool(directions or turned), "it has neither weights nor an input with a gradient")
    start = torch.zeros((), dtype=torch.float64, requires_grad=True)
    expect(any(x.requires_grad for x in along(start)), "what it returns has no gradient")
    torch.autograd.gradcheck(along, (start,), fast_mode=True, rtol=1e-3, atol=1e-6)


def state_through_safetensors(case: Case) -> None:
    """Its state is tensors by name, which a fresh one takes over from a file of safetensors."""
    part, inputs = built(case), inputs_of(case)
    torch.manual_seed(3)
    outputs(case, part.train(), inputs)  # running statistics are state too
    state = {name: tensor.detach().clone().contiguous() for name, tensor in part.state_dict().items()}
    fresh: nn.Module = case.make(seed=1)
    fresh.load_state_dict(load(save(state)))
    found = _seeded(lambda: outputs(case, fresh.eval(), inputs))
    all_same(found, _seeded(lambda: outputs(case, part.eval(), inputs)), "a fresh one with the loaded state")


def compiles_without_breaks(case: Case) -> None:
    """`torch.compile` takes it whole."""
    part, inputs = built(case), inputs_of(case)
    if not torch._dynamo.is_dynamo_supported():
        raise Skips("torch.compile doesn't work here")
    plain = _seeded(lambda: outputs(case, part, inputs))
    torch._dynamo.reset()
    compiled = torch.compile(part, backend="eager", fullgraph=True)
    try:
        found = _seeded(lambda: outputs(case, compiled, inputs))
    finally:
        torch._dynamo.reset()
    all_same(found, plain, "compiled")
