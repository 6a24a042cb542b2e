from __future__ import annotations

import copy
from typing import ClassVar

from torch import nn

from ...protocols import Progress


class Past:
    """A past checkpoint: the weights and statistics as they were, taken anew every `every` steps.

    Between, they stay as they are, in evaluation mode; until the first refresh, they are those of the start.
    (Le-Khac et al. 2020, section III-C: an offline encoder.)
    """

    gradient: ClassVar[bool] = False
    frozen: ClassVar[bool] = True

    def __init__(self, every: int = 1000) -> None:
        if every < 1:
            raise ValueError(f"every is 1 step or more, not {every}")
        self.every = every

    def follow(self, module: nn.Module) -> nn.Module:
        return copy.deepcopy(module).requires_grad_(False)

    def advance(self, module: nn.Module, follower: nn.Module, progress: Progress) -> None:
        if progress.step % self.every == 0:
            follower.load_state_dict(module.state_dict())
