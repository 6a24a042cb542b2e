from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ..contracts.parts import Source
from ..data.view import Embeddings
from ..errors import CrlError, did_you_mean
from ..method.contrast import Contrast
from ..method.pipeline import Pipeline
from .knn import strip
from .labelled import labelled
from .tables import device_of, in_chunks


class ScoreKNN:
    """The accuracy of k nearest neighbours by a contrast's own score, on items without augmentation.

    The k training items with the highest scores vote for the label of a test item. This is for methods that learn a
    score rather than a representation, such as OASIS (Chechik et al. 2010). The result `score_knn` is from 0 to 1.

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
        k: the number of neighbours that vote.
        contrast: the name of the contrast; by default the first.

    Raises:
        CrlError: k is below 1, or the pipeline has no such contrast.
    """

    takes: ClassVar[Literal["pipeline"]] = "pipeline"
    needs: ClassVar[tuple[str, ...]] = ("label",)

    def __init__(self, k: int = 20, contrast: str | None = None) -> None:
        if k < 1:
            raise CrlError(f"k is at least 1, not {k}")
        self.k, self.contrast = k, contrast

    def __call__(self, pipeline: Pipeline, source: Source, split: str) -> dict[str, float]:
        contrast = self._of(pipeline)
        queries = Embeddings.concat(list(embedded(pipeline, source, split, contrast.branches[0])))
        best = queries.z.new_empty(len(queries), 0), queries.meta["label"].new_empty(len(queries), 0)
        # Keys are computed batch by batch and not kept: there may be too many frames or tokens.
        for keys in embedded(pipeline, source, source.splits[0], contrast.branches[-1]):
            strips = torch.arange(len(queries), device=queries.z.device).split(strip(len(keys)))
            found = [self._nearest(contrast.score(queries.z[rows], keys.z), keys, best, rows) for rows in strips]
            scores, labels = zip(*found, strict=True)
            best = torch.cat(scores), torch.cat(labels)
        return {"score_knn": float((best[1].mode(1).values == queries.meta["label"]).double().mean())}

    def _nearest(
        self, scores: Tensor, keys: Embeddings, best: tuple[Tensor, Tensor], rows: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The k highest scores so far of these queries, and the labels of their keys."""
        scores = torch.cat([best[0][rows], scores], 1)
        labels = torch.cat([best[1][rows], keys.meta["label"].expand(len(rows), -1)], 1)
        highest, at = scores.topk(min(self.k, scores.shape[1]), dim=1)
        return highest, labels.gather(1, at)

    def _of(self, pipeline: Pipeline) -> Contrast:
        named = {contrast.name: contrast for contrast in pipeline.contrasts}
        name = self.contrast or next(iter(named), "")
        if name not in named:
            raise CrlError(f"there is no contrast {name!r}; there are {', '.join(named)}.{did_you_mean(name, named)}")
        return named[name]


def embedded(pipeline: Pipeline, source: Source, split: str, branch: str) -> Iterator[Embeddings]:
    """The embeddings of the items with a label by one branch, batch by batch; nothing random."""
    for batch in labelled(source.items(split)):
        views = pipeline.clean(batch.to(device_of(pipeline)))
        for part in in_chunks(views, pipeline.views_of(branch)[0]):
            yield pipeline.embed(part, branch)[branch].rows()
