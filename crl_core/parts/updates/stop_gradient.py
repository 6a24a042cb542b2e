from __future__ import annotations

from typing import ClassVar

from torch import nn

from ...contracts.parts import Progress


class StopGradient:
    """The same weights, but no gradient from this branch (SimSiam, Chen and He 2020).

    >>> import torch
    >>> import crl_core as crl
    >>> encoder = torch.nn.Linear(8, 8)
    >>> crl.StopGradient().follow(encoder) is encoder, crl.StopGradient().gradient
    (True, False)
    """

    gradient: ClassVar[bool] = False
    frozen: ClassVar[bool] = False

    def follow(self, module: nn.Module) -> nn.Module:
        return module

    def advance(self, module: nn.Module, follower: nn.Module, progress: Progress) -> None:
        pass
