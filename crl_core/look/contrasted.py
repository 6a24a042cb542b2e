from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..contracts.parts import Loss, Memory, Score


class Contrasted(Protocol):
    """The attributes of a contrast that this folder reads."""

    name: str
    loss: Loss
    score: Score

    @property
    def memories(self) -> Sequence[Memory]: ...
