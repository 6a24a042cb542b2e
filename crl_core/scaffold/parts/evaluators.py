from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from crl_core import Embeddings


class NearestMean:
    """The share of test items that are nearest to the mean of their own class (Snell et al. 2017)."""

    needs: ClassVar[tuple[str, ...]] = ("label",)

    def __call__(self, train: Embeddings, test: Embeddings, views: tuple[Tensor, Tensor] | None) -> dict[str, float]:
        classes, place = torch.unique(train.meta["label"], return_inverse=True)
        total = train.z.new_zeros(len(classes), train.z.shape[1]).index_add_(0, place, train.z)
        means = total / torch.bincount(place).unsqueeze(1)
        found = classes[torch.cdist(test.z, means).argmin(1)]
        return {"nearest-mean": float((found == test.meta["label"]).double().mean())}
