from __future__ import annotations

from typing import ClassVar, Literal

from ..contracts.parts import Source
from ..method.pipeline import Pipeline
from .classifier import accuracy, check_training


class AugmentedLinearProbe:
    """The share of test items that a linear classifier on the frozen encoder gets right, trained on random views.

    This is the protocol of most papers: the encoder sees new views in every epoch. `linear` is faster; it uses
    representations of the items without augmentation. The optimiser is AdamW. The result `augmented_linear` is the
    accuracy after the last epoch, from 0 to 1.

    >>> import torch
    >>> import crl_core as crl
    >>> class Points:  # a source, and its sampler
    ...     splits, views = ("train", "test"), ("a", "b")
    ...     items = lambda self, split: crl.InMemory(torch.eye(3).repeat(8, 1), {"label": torch.arange(24) % 3})
    ...     __call__ = lambda self, batch: {"a": batch, "b": batch}
    ...     clean = lambda self, batch: batch
    >>> pipeline = crl.Pipeline(Points(), encoder=torch.nn.Identity(), loss="info-nce")
    >>> crl.make("evaluator", "augmented-linear", epochs=50, learning_rate=0.1)(pipeline, Points(), "test")
    {'augmented_linear': 1.0}

    Args:
        epochs: the number of passes over the training items.
        batch_size, learning_rate: for the training of the classifier.
        view: the name of the random view; by default the sampler's first.
        branch: the branch whose representation is used; by default the first.

    Raises:
        CrlError: a number is out of range, or the sampler draws no such view.
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
        check_training(epochs, batch_size, learning_rate)
        self.epochs, self.batch_size, self.learning_rate = epochs, batch_size, learning_rate
        self.view, self.branch = view, branch

    def __call__(self, pipeline: Pipeline, source: Source, split: str) -> dict[str, float]:
        right = accuracy(
            pipeline, source, split, trains=False, fraction=1.0, epochs=self.epochs, batch_size=self.batch_size,
            rate=self.learning_rate, view=self.view or pipeline.views[0], branch=self.branch,
        )  # fmt: skip
        return {"augmented_linear": right}
