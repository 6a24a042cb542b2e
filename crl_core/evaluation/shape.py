from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..protocols import Embeddings
from .geometry import alignment, effective_rank, uniformity


class AlignmentUniformity:
    """How near two views of an item are, and how evenly the items spread (Wang and Isola 2020); lower is better."""

    needs: ClassVar[tuple[str, ...]] = ()

    def __call__(self, train: Embeddings, test: Embeddings, views: tuple[Tensor, Tensor] | None) -> dict[str, float]:
        found = {"uniformity": float(uniformity(test.z.float()))}
        if views is not None:
            found["alignment"] = float(alignment(views[0].float(), views[1].float()))
        return found


class EffectiveRank:
    """In about how many directions the representations vary (Roy and Vetterli 2007)."""

    needs: ClassVar[tuple[str, ...]] = ()

    def __call__(self, train: Embeddings, test: Embeddings, views: tuple[Tensor, Tensor] | None) -> dict[str, float]:
        return {"effective_rank": float(effective_rank(test.z.float()))}
