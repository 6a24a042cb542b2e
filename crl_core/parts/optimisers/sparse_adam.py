from __future__ import annotations

from typing import Any, ClassVar

import attrs
import torch
from attrs.validators import gt

from ...contracts.parts import Sparse
from .options import below_one


@attrs.frozen
class SparseAdam:
    """Adam for tables with sparse gradients: moves only the rows that the batch has read, and their averages.

    >>> import crl_core as crl
    >>> training = crl.Training(groups=[crl.Group("branches.item.encoder.table", optimiser=crl.SparseAdam(1e-2))])
    >>> training.groups[0].optimiser.sparse  # it takes only sparse gradients
    'only'

    Args:
        learning_rate: the maximum; the schedule of a training multiplies it.
        beta1, beta2: the decay rates of the moving averages of the gradient and of its square.
        epsilon: added to the root of the average square.

    Raises:
        ValueError: a number is out of its range.
    """

    sparse: ClassVar[Sparse] = "only"

    learning_rate: float = attrs.field(default=1e-3, validator=gt(0))
    beta1: float = attrs.field(default=0.9, validator=below_one)
    beta2: float = attrs.field(default=0.999, validator=below_one)
    epsilon: float = attrs.field(default=1e-8, validator=gt(0))

    def __call__(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.SparseAdam(groups, lr=self.learning_rate, betas=(self.beta1, self.beta2), eps=self.epsilon)
