from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch


class Signs:
    """Steps of the same size along every coordinate: signSGD (Bernstein, Wang, Azizzadenesheli, Anandkumar 2018).

    Args:
        learning_rate: the largest size; the schedule of a training multiplies it.
    """

    sparse: ClassVar[str] = "no"

    def __init__(self, learning_rate: float = 1e-3) -> None:
        if not learning_rate > 0:
            raise ValueError(f"a learning rate is above 0, not {learning_rate!r}")
        self.learning_rate = learning_rate

    def __call__(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return _Signs(groups, {"lr": self.learning_rate})


class _Signs(torch.optim.Optimizer):
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.add_(parameter.grad.sign(), alpha=-group["lr"])
