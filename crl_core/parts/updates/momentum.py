from __future__ import annotations

import copy
import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from ...protocols import Progress


class Momentum:
    """A moving average of the weights: follower ← m · follower + (1 - m) · module, after every step.

    He et al. 2020 (MoCo), equation 2. With `final`, m rises to it along a half cosine over the
    training (Grill et al. 2020, BYOL: 0.996 to 1). Running statistics of batch normalisation are
    the follower's own.
    """

    gradient: ClassVar[bool] = False
    frozen: ClassVar[bool] = False

    def __init__(self, momentum: float = 0.999, final: float | None = None) -> None:
        for name, value in (("momentum", momentum), ("final", final)):
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name} is from 0 to 1, not {value!r}")
        self.momentum, self.final = momentum, final

    def follow(self, module: nn.Module) -> nn.Module:
        return copy.deepcopy(module).requires_grad_(False)

    def at(self, progress: Progress) -> float:
        """The momentum at this moment."""
        if self.final is None:
            return self.momentum
        return self.final - (self.final - self.momentum) * (math.cos(math.pi * progress.fraction) + 1) / 2

    @torch.no_grad()
    def advance(self, module: nn.Module, follower: nn.Module, progress: Progress) -> None:
        ours: list[Tensor] = list(follower.parameters())
        theirs: list[Tensor] = list(module.parameters())
        if ours:
            torch._foreach_lerp_(ours, theirs, 1 - self.at(progress))
