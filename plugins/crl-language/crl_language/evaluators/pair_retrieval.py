from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from crl_core import CrlError, Pipeline, Source, View


class PairRetrieval:
    """Whether a text finds the other one of its pair: by cosine, among those of all pairs of the split.

    Figures, from 0 to 1: `pair-recall@1` and so on, the share of left texts that have their right text among the k
    nearest right texts, and `pair-recall-back@1` of right texts. The same by TF-IDF of words, `tf-idf-pair-recall@1`,
    where scikit-learn is installed. Of equally near texts the pair's own counts as the last.

    >>> import torch
    >>> from crl_language.evaluators.pair_retrieval import recalls
    >>> recalls(torch.eye(3), torch.eye(3)[[0, 2, 1]], [1, 3])
    {1: 0.3333333432674408, 3: 1.0}

    Args:
        k: one or more numbers of neighbours; None stands for 1 and 10.
        most: pairs that are compared, the first ones of the split.

    Raises:
        CrlError: a k is below 1, or the items are no pairs of texts.
    """

    takes: ClassVar[str] = "pipeline"
    needs: ClassVar[tuple[str, ...]] = ()

    def __init__(self, k: list[int] | None = None, most: int = 1_000) -> None:
        if k is not None and (not k or min(k) < 1):
            raise CrlError(f"k are one or more numbers of neighbours, each 1 or more, not {k}")
        if most < 2:
            raise CrlError(f"2 pairs or more are compared, not {most}")
        self.k, self.most = k, most

    def __call__(self, pipeline: Pipeline, source: Source, split: str) -> dict[str, float]:
        items = source.items(split)
        batch = items.__getitems__(list(range(min(len(items), self.most))))
        if not isinstance(batch.data, dict) or len(batch.data) < 2:
            raise CrlError(f"retrieval of pairs needs pairs, not a {type(batch.data).__name__}")
        left, right = list(batch.data.values())[:2]
        ks = self.k or [1, 10]
        mine, theirs = (encoded(pipeline, side) for side in (left, right))
        found = _named("pair-recall@", recalls(mine, theirs, ks))
        found |= _named("pair-recall-back@", recalls(theirs, mine, ks))
        if (tables := tf_idf([*left, *right])) is not None:
            found |= _named("tf-idf-pair-recall@", recalls(tables[: len(left)], tables[len(left) :], ks))
        return found


def encoded(pipeline: Pipeline, texts: Sequence[str] | Any, size: int = 256) -> Tensor:
    """The representations `[N, d]` of raw texts, on the CPU."""
    device = next((parameter.device for parameter in pipeline.parameters()), torch.device("cpu"))
    found = []
    for start in range(0, len(texts), size):
        batch: View = pipeline.read(texts[start : start + size])
        found.append(pipeline.encode(batch.to(device)).cpu())
    return torch.cat(found)


def recalls(left: Tensor, right: Tensor, ks: Sequence[int]) -> dict[int, float]:
    """The share of left rows whose right row is among the k nearest by cosine."""
    similarity = F.normalize(left.float(), dim=1) @ F.normalize(right.float(), dim=1).T
    before = (similarity >= similarity.diagonal().unsqueeze(1)).sum(1)  # itself among them
    return {k: float((before <= k).float().mean()) for k in ks}


def tf_idf(texts: Sequence[str]) -> Tensor | None:
    """TF-IDF of the words of these texts, `[N, words]`; None without scikit-learn, or without words."""
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
    except ImportError:
        return None
    try:
        return torch.from_numpy(TfidfVectorizer().fit_transform(texts).toarray()).float()
    except ValueError:
        return None


def _named(name: str, values: dict[int, float]) -> dict[str, float]:
    return {f"{name}{k}": value for k, value in values.items()}
