from __future__ import annotations

from typing import Any, ClassVar

import attrs
import torch
from attrs.validators import ge, gt

from ...contracts.parts import Sparse
from .options import below_one


@attrs.frozen
class SGD:
    """Stochastic gradient descent, with or without momentum.

    Takes sparse gradients if it has neither momentum nor weight decay.

    >>> import torch
    >>> import crl_core as crl
    >>> weight = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimiser = crl.SGD(0.1)([{"params": [weight]}])
    >>> weight.grad = torch.tensor([2.0])
    >>> optimiser.step()
    >>> weight.data
    tensor([0.8000])

    Args:
        learning_rate: the maximum; the schedule of a training multiplies it.
        momentum: the share of the last step that is added to the next (Polyak 1964, in torch's form).
        weight_decay: an L2 penalty, added to the gradient; biases and normalisation never decay.
        nesterov: apply the gradient once more after the momentum (Nesterov 1983).

    Raises:
        ValueError: a number is out of its range, or `nesterov` comes without momentum.
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
