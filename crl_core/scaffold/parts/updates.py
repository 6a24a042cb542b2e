from __future__ import annotations

import copy
from typing import ClassVar

from torch import nn

from crl_core import Progress


class Periodic:
    """A copy that is renewed every `every` steps: the target network of Mnih et al. 2015."""

    gradient: ClassVar[bool] = False
    frozen: ClassVar[bool] = False

    def __init__(self, every: int = 100) -> None:
        if every < 1:
            raise ValueError(f"every is at least 1 step, not {every}")
        self.every = every

    def follow(self, module: nn.Module) -> nn.Module:
        return copy.deepcopy(module).requires_grad_(False)

    def advance(self, module: nn.Module, follower: nn.Module, progress: Progress) -> None:
        if progress.step % self.every == 0:
            follower.load_state_dict(module.state_dict())
