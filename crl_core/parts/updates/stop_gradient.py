from __future__ import annotations

from typing import ClassVar

from torch import nn

from ...protocols import Progress


class StopGradient:
    """The same weights, but no gradient from this side (SimSiam, Chen and He 2020)."""

    gradient: ClassVar[bool] = False
    frozen: ClassVar[bool] = False

    def follow(self, module: nn.Module) -> nn.Module:
        return module

    def advance(self, module: nn.Module, follower: nn.Module, progress: Progress) -> None:
        pass
