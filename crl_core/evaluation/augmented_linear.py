from __future__ import annotations

from typing import ClassVar, Literal

from ..contracts.parts import Source
from ..errors import CrlError
from ..method.pipeline import Pipeline
from .classifier import accuracy


class AugmentedLinearProbe:
    """The share of test items that a linear classifier on the frozen encoder gets right, trained on random views.

    The usual protocol of papers: the encoder sees new views in every epoch. `linear` is quicker; it uses
    representations of the items without augmentation. AdamW; the accuracy after the last epoch, from 0 to 1, as
    `augmented_linear`.

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
        epochs: over the training items.
        batch_size, learning_rate: of the classifier's training.
        view: the sampler's random view, by name; its first by default.
        branch: the branch whose representation is used; the first by default.

    Raises:
        CrlError: a number is out of its range, or the sampler draws no such view.
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
