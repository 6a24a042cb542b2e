from __future__ import annotations

from typing import Any, ClassVar

import attrs
import torch
from attrs.validators import ge, gt

from ...contracts.parts import Sparse


@attrs.frozen
class Adagrad:
    """Divides each step by the root of the sum of all squared gradients so far (Duchi, Hazan, Singer 2011).

    Takes sparse gradients if it has no weight decay.

    >>> import crl_core as crl
    >>> training = crl.Training(optimiser=crl.Adagrad(0.1))
    >>> training.optimiser.sparse
    'yes'

    Args:
        learning_rate: the maximum; the schedule of a training multiplies it.
        weight_decay: an L2 penalty, added to the gradient; biases and normalisation never decay.
        start: the initial value of the sum of squares.
        epsilon: added to the root.

    Raises:
        ValueError: a number is out of its range.
    """

    sparse: ClassVar[Sparse] = "yes"

    learning_rate: float = attrs.field(default=1e-2, validator=gt(0))
    weight_decay: float = attrs.field(default=0.0, validator=ge(0))
    start: float = attrs.field(default=0.0, validator=ge(0))
    epsilon: float = attrs.field(default=1e-10, validator=gt(0))

    def __call__(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.Adagrad(
            groups,
            lr=self.learning_rate,
            weight_decay=self.weight_decay,
            initial_accumulator_value=self.start,
            eps=self.epsilon,
        )
