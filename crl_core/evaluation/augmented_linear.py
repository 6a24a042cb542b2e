from __future__ import annotations

from typing import ClassVar, Literal

from ..errors import CrlError
from ..pipeline import Pipeline
from ..protocols import Source
from .classifier import accuracy


class AugmentedLinearProbe:
    """The share of test items that a linear classifier on the frozen encoder gets right, trained on random views.

    The common protocol of papers, where the encoder sees new views in every epoch; `linear` is quicker, on
    representations of the items as they are. The figure of the last epoch. AdamW.

    Args:
        epochs: over the training items.
        batch_size, learning_rate: of the classifier's training.
        view: the sampler's random view, by name; its first by default.
        branch: whose representation; the first branch's by default.
    """

    takes: ClassVar[Literal["pipeline"]] = "pipeline"
    needs: ClassVar[tuple[str, ...]] = ("label",)

    def __init__(
        self,
        epochs: int = 20,
        batch_size: int = 256,
        learning_rate: float = 1e-2,
        view: str | None = None,
        branch: str | None = None,
    ) -> None:
        if epochs < 1 or batch_size < 2 or not learning_rate > 0:
            raise CrlError(
                f"epochs are 1 or more, a batch 2 or more and the learning rate above 0: "
                f"not {epochs}, {batch_size}, {learning_rate!r}"
            )
        self.epochs, self.batch_size, self.learning_rate = epochs, batch_size, learning_rate
        self.view, self.branch = view, branch

    def __call__(self, pipeline: Pipeline, source: Source, split: str) -> dict[str, float]:
        right = accuracy(
            pipeline, source, split, trains=False, fraction=1.0, epochs=self.epochs, batch_size=self.batch_size,
            rate=self.learning_rate, view=self.view or pipeline.views[0], branch=self.branch,
        )  # fmt: skip
        return {"augmented_linear": right}
