from __future__ import annotations

from typing import Any, ClassVar

import attrs
import torch
from attrs.validators import ge, gt

from ...contracts.parts import Sparse
from .options import below_one


@attrs.frozen
class AdamW:
    """Adam with weight decay apart from the gradient (Loshchilov, Hutter 2019, algorithm 2).

    >>> import crl_core as crl
    >>> crl.Training().optimiser  # the default
    AdamW(learning_rate=0.001, weight_decay=0.0001, beta1=0.9, beta2=0.999, epsilon=1e-08)

    Args:
        learning_rate: the maximum; the schedule of a training multiplies it.
        weight_decay: per unit of the learning rate; biases and normalisation never decay.
        beta1, beta2: the decay rates of the moving averages of the gradient and of its square.
        epsilon: added to the root of the average square.

    Raises:
        ValueError: a number is out of its range.
    """

    sparse: ClassVar[Sparse] = "no"

    learning_rate: float = attrs.field(default=1e-3, validator=gt(0))
    weight_decay: float = attrs.field(default=1e-4, validator=ge(0))
    beta1: float = attrs.field(default=0.9, validator=below_one)
    beta2: float = attrs.field(default=0.999, validator=below_one)
    epsilon: float = attrs.field(default=1e-8, validator=gt(0))

    def __call__(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        betas = (self.beta1, self.beta2)
        return torch.optim.AdamW(
            groups, lr=self.learning_rate, betas=betas, eps=self.epsilon, weight_decay=self.weight_decay
        )
