"""Optimisers, and the learning rate over a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from ..errors import CrlError
from .training import Training


class LARS(Optimizer):
    """SGD with momentum whose step is, for every matrix, in proportion to the norm of its weights.

    You, Gitman, Ginsburg 2017, with the convention of SimCLR and BYOL: groups with
    `adapt=False` (biases, normalisation) take plain SGD steps.

    Args:
        trust: how large a step may be, as a fraction of the weights' norm.
    """

    def __init__(
        self, params: Iterable[Any], lr: float, momentum: float = 0.9, weight_decay: float = 0.0, trust: float = 1e-3
    ) -> None:
        super().__init__(
            params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust, "adapt": True}
        )

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
        if group["adapt"]:
            size, length = parameter.norm(), step.norm()
            # Weights or gradients of length 0 take the plain step.
            ratio = torch.where((size > 0) & (length > 0), group["trust"] * size / length, 1.0)
            step = step * ratio
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        velocity: Tensor = state["momentum"]
        velocity.mul_(group["momentum"]).add_(step)
        parameter.add_(velocity, alpha=-group["lr"])


def make_optimiser(module: nn.Module, training: Training) -> Optimizer:
    """The optimiser that `training` asks for, over all parameters that train.

    Raises:
        CrlError: there are none.
    """
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if not trained:
        raise CrlError("no part has weights that train: all are frozen, or there are none")
    matrices = [parameter for parameter in trained if parameter.dim() > 1]
    vectors = [parameter for parameter in trained if parameter.dim() <= 1]  # biases and normalisation
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": training.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    if training.optimiser == "adamw":
        return AdamW(groups, lr=training.learning_rate)
    if training.optimiser == "sgd":
        return SGD(groups, lr=training.learning_rate, momentum=training.momentum)
    groups[1]["adapt"] = False
    return LARS(groups, lr=training.learning_rate, momentum=training.momentum)


def learning_rate(step: int, steps: int, warmup: int, highest: float) -> float:
    """For step number `step`, from 0: a straight rise over `warmup` steps, then half a cosine to 0."""
    if step < warmup:
        return highest * (step + 1) / warmup
    return highest * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
