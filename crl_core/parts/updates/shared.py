from __future__ import annotations

from typing import ClassVar

from torch import nn

from ...protocols import Progress


class Shared:
    """The same weights, trained from both sides."""

    gradient: ClassVar[bool] = True
    frozen: ClassVar[bool] = False

    def follow(self, module: nn.Module) -> nn.Module:
        return module

    def advance(self, module: nn.Module, follower: nn.Module, progress: Progress) -> None:
        pass
