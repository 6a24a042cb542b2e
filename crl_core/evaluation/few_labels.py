from __future__ import annotations

from typing import ClassVar, Literal

from ..contracts.parts import Source
from ..errors import CrlError
from ..method.pipeline import Pipeline
from .classifier import accuracy, check_training


class FewLabels:
    """The share of test items that a copy of the encoder gets right, fine-tuned with a classifier on few labels.

    Chen et al. 2020 (SimCLR, table 7) use 1 and 10 per cent of the labels. The optimiser is AdamW. The result
    `few_labels@` with the fraction is the accuracy after the last epoch, from 0 to 1.

    >>> import torch
    >>> import crl_core as crl
    >>> class Points:  # a source, and its sampler
    ...     splits, views = ("train", "test"), ("a", "b")
    ...     items = lambda self, split: crl.InMemory(torch.eye(3).repeat(8, 1), {"label": torch.arange(24) % 3})
    ...     __call__ = lambda self, batch: {"a": batch, "b": batch}
    ...     clean = lambda self, batch: batch
    >>> pipeline = crl.Pipeline(Points(), encoder=torch.nn.Linear(3, 8), loss="info-nce")
    >>> crl.make("evaluator", "few-labels", fraction=0.5, epochs=50, learning_rate=0.1)(pipeline, Points(), "test")
    {'few_labels@0.5': 1.0}

    Args:
        fraction: the share of the training items of each label, at least one item.
        epochs: the number of passes over these items.
        batch_size, learning_rate: for the fine-tuning.
        view: the name of the random view to train on; None for the items without augmentation.
        branch: the branch whose representation is used; by default the first.

    Raises:
        CrlError: a number is out of range, or the sampler draws no such view.
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
            raise CrlError(f"a fraction of the labels is above 0 and at most 1, not {fraction!r}")
        check_training(epochs, batch_size, learning_rate)
        self.fraction, self.epochs, self.batch_size, self.learning_rate = fraction, epochs, batch_size, learning_rate
        self.view, self.branch = view, branch

    def __call__(self, pipeline: Pipeline, source: Source, split: str) -> dict[str, float]:
        right = accuracy(
            pipeline, source, split, trains=True, fraction=self.fraction, epochs=self.epochs,
            batch_size=self.batch_size, rate=self.learning_rate, view=self.view, branch=self.branch,
        )  # fmt: skip
        return {f"few_labels@{self.fraction:g}": right}
