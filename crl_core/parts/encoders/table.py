from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ...contracts.parts import Progress
from ...errors import CrlError
from .numbered import Numbered

_NORMALISE = (None, "always", "start")


class Table(Numbered):
    """A vector for each of `count` things that are known by their numbers: words, nodes, entities.

    Numbers `[…]` to vectors `[…, size]`. `Table("words", 64)` takes the count from the source.

    >>> import torch
    >>> import crl_core as crl
    >>> crl.Table(24, 64, sparse=True)(torch.tensor([0, 23])).shape
    torch.Size([2, 64])

    Args:
        count: how many there are, or the word by which the source counts them: "words", "nodes", "entities".
            They are numbered from 0 to count - 1.
        size: numbers in a vector.
        bound: vectors are initialised uniformly from -bound to bound; None stands for 6/√size (Bordes et al. 2013).
        normalise: "always" normalises every vector to length 1, at the start and after every step; "start" only at
            the start; None never.
        sparse: gradients hold only the rows of the batch, and a step costs nothing for all others; for optimisers
            that take sparse gradients.
    """

    formerly: ClassVar[tuple[str, ...]] = ("graph/table",)
    renamed: ClassVar[dict[str, str]] = {"spread": "bound", "unit": "normalise"}

    def __init__(
        self,
        count: int | str,
        size: int = 64,
        bound: float | None = None,
        normalise: Literal["always", "start"] | None = None,
        sparse: bool = False,
    ) -> None:
        super().__init__(count, size, sparse)
        if normalise not in _NORMALISE:
            raise CrlError(f'normalise is "always", "start" or None, not {normalise!r}')
        self.size, self.bound, self.normalise = size, bound, normalise
        self._moving: list[Tensor] = []  # rows that were looked up since the last step
        if isinstance(count, int):
            self.make(count)

    @staticmethod
    def upgrade(options: dict[str, Any]) -> dict[str, Any]:
        """`normalise="always"` was once `unit="kept"`."""
        return {**options, "normalise": "always"} if options.get("normalise") == "kept" else options

    def start(self, weight: Tensor) -> None:
        bound = 6 / math.sqrt(self.size) if self.bound is None else self.bound
        weight.uniform_(-bound, bound)
        if self.normalise is not None:
            F.normalize(weight, dim=1, out=weight)

    def forward(self, which: Tensor) -> Tensor:
        """The vectors `[…, size]` of these numbers `[…]`."""
        found = self.rows(which)
        if self.normalise == "always" and self.sparse and self.training and torch.is_grad_enabled():
            self._moving.append(which.detach().flatten())
        return found

    @torch.no_grad()
    def on_step(self, progress: Progress) -> None:
        if self.normalise != "always" or not self.made:
            return
        if not self.sparse or _several_processes():
            F.normalize(self.weight, dim=1, out=self.weight)
        elif self._moving:
            rows = torch.cat(self._moving).unique()  # no others have moved
            self.weight[rows] = F.normalize(self.weight[rows], dim=1)
        self.abandon()

    def abandon(self) -> None:
        self._moving.clear()


def _several_processes() -> bool:
    """Whether other processes' rows have moved too."""
    spread = torch.distributed.is_available() and torch.distributed.is_initialized()
    return spread and torch.distributed.get_world_size() > 1
