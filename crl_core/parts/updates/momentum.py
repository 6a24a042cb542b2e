from __future__ import annotations

import copy
from typing import ClassVar

import torch
from torch import Tensor, nn

from ...contracts.parts import Progress
from ..schedules.scheduled import Scheduled, ends


class Momentum:
    """A moving average of the weights: follower ← m · follower + (1 - m) · module, after every step.

    He et al. 2020 (MoCo), equation 2. `Momentum(Scheduled(0.996, 1.0))` rises along half a cosine over the
    training (Grill et al. 2020, BYOL). The follower has running statistics of batch normalisation of its own.

    >>> import torch
    >>> import crl_core as crl
    >>> module, update = torch.nn.Linear(1, 1, bias=False), crl.Momentum(0.9)
    >>> follower = update.follow(module)
    >>> _ = module.weight.data.fill_(1.0), follower.weight.data.fill_(0.0)
    >>> update.advance(module, follower, crl.Progress(step=1, steps=100, epoch=0, epochs=1))
    >>> round(follower.weight.item(), 3)
    0.1

    Args:
        momentum: m, from 0 to 1; a number, or a `Scheduled`.

    Raises:
        ValueError: m is not from 0 to 1.
    """

    gradient: ClassVar[bool] = False
    frozen: ClassVar[bool] = False

    def __init__(self, momentum: float | Scheduled = 0.999) -> None:
        for value in ends(momentum):
            if not 0 <= value <= 1:
                raise ValueError(f"momentum is from 0 to 1, not {value!r}")
        self.momentum = momentum

    def follow(self, module: nn.Module) -> nn.Module:
        return copy.deepcopy(module).requires_grad_(False)

    def at(self, progress: Progress) -> float:
        """The momentum at this moment."""
        return self.momentum.at(progress) if isinstance(self.momentum, Scheduled) else self.momentum

    @torch.no_grad()
    def advance(self, module: nn.Module, follower: nn.Module, progress: Progress) -> None:
        ours: list[Tensor] = list(follower.parameters())
        theirs: list[Tensor] = list(module.parameters())
        if ours:
            torch._foreach_lerp_(ours, theirs, 1 - self.at(progress))
