from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..contracts.parts import Loss, Memory, Score


class Contrasted(Protocol):
    """What is read of a contrast to look at it."""

    name: str
    loss: Loss
    score: Score

    @property
    def memories(self) -> Sequence[Memory]: ...
