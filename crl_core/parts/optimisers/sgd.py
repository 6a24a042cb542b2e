from __future__ import annotations

from typing import Any, ClassVar

import attrs
import torch
from attrs.validators import ge, gt

from ...protocols import Sparse
from .options import below_one


@attrs.frozen
class SGD:
    """Stochastic gradient descent, with momentum if it is asked for.

    Takes sparse gradients where it has neither momentum nor weight decay.

    >>> Training(optimiser=SGD(0.03, momentum=0.9, weight_decay=1e-4))

    Args:
        learning_rate: at its highest; the schedule of a training multiplies it.
        momentum: how much of the last step is added to the next (Polyak 1964, as torch has it).
        weight_decay: an L2 penalty, added to the gradient; biases and normalisation are never decayed.
        nesterov: take the gradient's step once more after the momentum's (Nesterov 1983).
    """

    sparse: ClassVar[Sparse] = "yes"

    learning_rate: float = attrs.field(default=0.1, validator=gt(0))
    momentum: float = attrs.field(default=0.0, validator=below_one)
    weight_decay: float = attrs.field(default=0.0, validator=ge(0))
    nesterov: bool = False

    def __attrs_post_init__(self) -> None:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov is a kind of momentum: it needs a momentum above 0")

    def __call__(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            groups,
            lr=self.learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            nesterov=self.nesterov,
        )
