from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import attrs
import torch
from attrs.validators import ge, gt
from torch import Tensor

from ...contracts.parts import Sparse
from .options import below_one


@attrs.frozen
class LARS:
    """SGD with momentum whose step is proportional to the norm of the weights, for each matrix: for large batches.

    You, Gitman, Ginsburg 2017, algorithm 1, with the convention of SimCLR and BYOL: biases and normalisation take
    plain steps of SGD.

    >>> import crl_core as crl
    >>> training = crl.Training(batch_size=4096, optimiser=crl.LARS(4.8, weight_decay=1e-6))  # SimCLR on ImageNet
    >>> training.optimiser.trust
    0.001

    Args:
        learning_rate: the maximum; the schedule of a training multiplies it.
        momentum: the share of the last step that is added to the next.
        weight_decay: added to the gradient, before the norm is taken; biases and normalisation never decay.
        trust: the size of a step as a fraction of the weights' norm.

    Raises:
        ValueError: a number is out of its range.
    """

    sparse: ClassVar[Sparse] = "no"

    learning_rate: float = attrs.field(default=0.2, validator=gt(0))
    momentum: float = attrs.field(default=0.9, validator=below_one)
    weight_decay: float = attrs.field(default=0.0, validator=ge(0))
    trust: float = attrs.field(default=1e-3, validator=gt(0))

    def __call__(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return _LARS(
            groups,
            {
                "lr": self.learning_rate,
                "momentum": self.momentum,
                "weight_decay": self.weight_decay,
                "trust": self.trust,
            },
        )


class _LARS(torch.optim.Optimizer):
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)
        return loss

    def _move(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        step = gradient.add(parameter, alpha=group["weight_decay"])
        if parameter.dim() > 1:
            size, length = parameter.norm(), step.norm()
            # Weights or gradients of length 0 take the plain step.
            step = step * torch.where((size > 0) & (length > 0), group["trust"] * size / length, 1.0)
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        velocity: Tensor = state["momentum"]
        velocity.mul_(group["momentum"]).add_(step)
        parameter.add_(velocity, alpha=-group["lr"])
