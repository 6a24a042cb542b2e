from __future__ import annotations

from functools import cached_property
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from crl_core import CrlError, Pipeline, Source

from ..sources.parallel import rows_of
from .pair_retrieval import encoded, tf_idf


class STS:
    """Semantic textual similarity: whether pairs of sentences that people find alike have like vectors.

    The figure `sts` is Spearman's rank correlation, from -1 to 1, of the cosines with the scores of a file of pairs;
    `tf-idf-sts` is that of TF-IDF of words, where scikit-learn is installed (Cer et al. 2017). It asks nothing of the
    source that a run is trained on.

    >>> import torch
    >>> from crl_language.evaluators.sts import spearman
    >>> round(spearman(torch.tensor([0.1, 0.5, 0.5, 0.9]), torch.tensor([1.0, 3.0, 2.0, 9.0])), 3)
    0.949

    Args:
        path: of a `.csv` or `.tsv` file.
        columns: the numbers of the columns with the two sentences and the score, from 0.
        header: whether its first line names the columns.

    Raises:
        CrlError: the file can't be read, a score is no number, or there are fewer than three pairs.
    """

    takes: ClassVar[str] = "pipeline"
    needs: ClassVar[tuple[str, ...]] = ()

    def __init__(self, path: str, columns: tuple[int, int, int] = (0, 1, 2), header: bool = False) -> None:
        self.path, self.columns, self.header = path, columns, header

    def __call__(self, pipeline: Pipeline, source: Source, split: str) -> dict[str, float]:
        left, right, score = self._pairs
        found = {"sts": _correlation(encoded(pipeline, left), encoded(pipeline, right), score)}
        if (table := tf_idf([*left, *right])) is not None:
            found["tf-idf-sts"] = _correlation(table[: len(left)], table[len(left) :], score)
        return found

    @cached_property
    def _pairs(self) -> tuple[list[str], list[str], Tensor]:
        rows = rows_of(self.path, self.columns, self.header)
        left, right, score = ([row[column] for row in rows] for column in self.columns)
        try:
            scores = torch.tensor([float(value) for value in score])
        except ValueError as error:
            raise CrlError(f"{self.path}, column {self.columns[2]}: {error}. Has it a header?") from None
        if len(rows) < 3:
            raise CrlError(f"{self.path} has {len(rows)} pairs; a rank correlation needs 3 or more")
        return left, right, scores


def _correlation(left: Tensor, right: Tensor, score: Tensor) -> float:
    return spearman(F.cosine_similarity(left.float(), right.float(), dim=1), score)


def spearman(one: Tensor, other: Tensor) -> float:
    """Spearman's rank correlation of two lists of numbers `[N]`; equal numbers share their mean rank.

    0 where all numbers of a list are equal.
    """
    from scipy.stats import rankdata

    ranks = torch.stack([torch.from_numpy(rankdata(values.numpy())) for values in (one, other)])
    centred = ranks - ranks.mean(1, keepdim=True)
    return float(F.cosine_similarity(centred[:1], centred[1:]))
