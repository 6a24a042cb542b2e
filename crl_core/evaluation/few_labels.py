from __future__ import annotations

from typing import ClassVar, Literal

from ..errors import CrlError
from ..pipeline import Pipeline
from ..protocols import Source
from .classifier import accuracy


class FewLabels:
    """What share of test items a copy of the encoder gets right, fine-tuned with a classifier on few labels.

    As Chen et al. 2020 (SimCLR, table 7) with 1 and 10 per cent; the figure of the last epoch. AdamW.

    Args:
        fraction: of the training items of every label, at least one of each.
        epochs: over these.
        batch_size, learning_rate: of the fine-tuning.
        view: the sampler's random view to train on, by name; the items as they are by default.
        branch: whose representation; the first branch's by default.
    """

    takes: ClassVar[Literal["pipeline"]] = "pipeline"
    needs: ClassVar[tuple[str, ...]] = ("label",)

    def __init__(
        self,
        fraction: float = 0.1,
        epochs: int = 30,
        batch_size: int = 64,
        learning_rate: float = 1e-3,
        view: str | None = None,
        branch: str | None = None,
    ) -> None:
        if not 0 < fraction <= 1:
            raise CrlError(f"a fraction of the labels is above 0 and up to 1, not {fraction!r}")
        if epochs < 1 or batch_size < 2 or not learning_rate > 0:
            raise CrlError(
                f"epochs are 1 or more, a batch 2 or more and the learning rate above 0: "
                f"not {epochs}, {batch_size}, {learning_rate!r}"
            )
        self.fraction, self.epochs, self.batch_size, self.learning_rate = fraction, epochs, batch_size, learning_rate
        self.view, self.branch = view, branch

    def __call__(self, pipeline: Pipeline, source: Source, split: str) -> dict[str, float]:
        right = accuracy(
            pipeline, source, split, trains=True, fraction=self.fraction, epochs=self.epochs,
            batch_size=self.batch_size, rate=self.learning_rate, view=self.view, branch=self.branch,
        )  # fmt: skip
        return {f"few_labels@{self.fraction:g}": right}
