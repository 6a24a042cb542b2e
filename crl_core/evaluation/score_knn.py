from __future__ import annotations

from typing import ClassVar, Literal

import torch

from ..contracts.parts import Source
from ..data.view import Embeddings
from ..errors import CrlError, did_you_mean
from ..method.contrast import Contrast
from ..method.pipeline import Pipeline
from .evaluate import device_of
from .labelled import labelled


class ScoreKNN:
    """The share of test items whose label most of the k training items with the highest score have.

    By a contrast's own score between its branches, on items without augmentation: for methods that learn a score rather
    than a representation, as OASIS (Chechik et al. 2010). The figure `score_knn` is from 0 to 1.

    >>> import torch
    >>> import crl_core as crl
    >>> class Points:  # a source, and its sampler
    ...     splits, views = ("train", "test"), ("a", "b")
    ...     items = lambda self, split: crl.InMemory(torch.eye(3).repeat(8, 1), {"label": torch.arange(24) % 3})
    ...     __call__ = lambda self, batch: {"a": batch, "b": batch}
    ...     clean = lambda self, batch: batch
    >>> pipeline = crl.Pipeline(Points(), encoder=torch.nn.Identity(), loss="info-nce")
    >>> crl.make("evaluator", "score-knn", k=5)(pipeline, Points(), "test")
    {'score_knn': 1.0}

    Args:
        k: how many vote.
        contrast: by name; the first by default.

    Raises:
        CrlError: k is below 1, or the pipeline has no such contrast.
    """

    takes: ClassVar[Literal["pipeline"]] = "pipeline"
    needs: ClassVar[tuple[str, ...]] = ("label",)

    def __init__(self, k: int = 20, contrast: str | None = None) -> None:
        if k < 1:
            raise CrlError(f"k is 1 or more, not {k}")
        self.k, self.contrast = k, contrast

    def __call__(self, pipeline: Pipeline, source: Source, split: str) -> dict[str, float]:
        contrast = self._of(pipeline)
        keys = embedded(pipeline, source, source.splits[0], contrast.branches[-1])
        queries = embedded(pipeline, source, split, contrast.branches[0])
        right = 0
        for rows in torch.split(torch.arange(len(queries), device=queries.z.device), 1024):
            scores = contrast.score(queries.z[rows], keys.z)
            near = scores.topk(min(self.k, len(keys)), dim=1).indices
            vote = keys.meta["label"][near].mode(1).values
            right += int((vote == queries.meta["label"][rows]).sum())
        return {"score_knn": right / len(queries)}

    def _of(self, pipeline: Pipeline) -> Contrast:
        named = {contrast.name: contrast for contrast in pipeline.contrasts}
        name = self.contrast or next(iter(named), "")
        if name not in named:
            raise CrlError(f"there is no contrast {name!r}; there are {', '.join(named)}.{did_you_mean(name, named)}")
        return named[name]


def embedded(pipeline: Pipeline, source: Source, split: str, branch: str) -> Embeddings:
    """The items with a label through one branch, with its head; nothing random."""
    tables = []
    for batch in labelled(source.items(split)):
        views = pipeline.clean(batch.to(device_of(pipeline)))
        tables.append(pipeline.embed(views, branch)[branch].rows())
    return Embeddings.concat(tables)
