from __future__ import annotations

import copy
from typing import ClassVar

from torch import nn

from ...contracts.parts import Progress


class Frozen:
    """Weights that stay at their initial values, in evaluation mode: a teacher.

    On a branch with an encoder of its own, the encoder is frozen, and the branch's own heads still train
    (CRD, Tian et al. 2020). On a branch that tracks another, a copy made at the start.

    >>> import torch
    >>> import crl_core as crl
    >>> teacher = crl.Frozen().follow(torch.nn.Linear(8, 8))
    >>> teacher.weight.requires_grad
    False
    """

    gradient: ClassVar[bool] = False
    frozen: ClassVar[bool] = True

    def follow(self, module: nn.Module) -> nn.Module:
        return copy.deepcopy(module).requires_grad_(False)

    def advance(self, module: nn.Module, follower: nn.Module, progress: Progress) -> None:
        pass
