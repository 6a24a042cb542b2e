from __future__ import annotations

from typing import ClassVar

from torch import nn

from ...contracts.parts import Progress


class Shared:
    """The same weights, trained from both branches.

    >>> import torch
    >>> import crl_core as crl
    >>> encoder = torch.nn.Linear(8, 8)
    >>> crl.Shared().follow(encoder) is encoder, crl.Shared().gradient
    (True, True)
    """

    gradient: ClassVar[bool] = True
    frozen: ClassVar[bool] = False

    def follow(self, module: nn.Module) -> nn.Module:
        return module

    def advance(self, module: nn.Module, follower: nn.Module, progress: Progress) -> None:
        pass
