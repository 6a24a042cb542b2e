from __future__ import annotations

import copy
from typing import ClassVar

from torch import nn

from ...contracts.parts import Progress


class Past:
    """A past checkpoint: a copy of the weights and statistics, made again every `every` steps.

    In between, the copy does not change, in evaluation mode; before the first `every` steps it is that of the start.
    (Le-Khac et al. 2020, section III-C: an offline encoder.)

    >>> import torch
    >>> import crl_core as crl
    >>> module, update = torch.nn.Linear(1, 1, bias=False), crl.Past(every=10)
    >>> follower = update.follow(module)
    >>> _ = module.weight.data.fill_(1.0), follower.weight.data.fill_(0.0)
    >>> for step in range(1, 10):
    ...     update.advance(module, follower, crl.Progress(step, 100, 0, 1))
    >>> follower.weight.item()  # the tenth step takes the weights over
    0.0

    Args:
        every: steps between two copies.

    Raises:
        ValueError: it is below 1.
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
