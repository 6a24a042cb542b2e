from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import CrlError
from ..protocols import Embeddings


class KNN:
    """The share of test items whose label the nearest training items vote for.

    The k most similar by cosine vote with weight exp(cosine / temperature) (Wu et al. 2018, section 3.4).
    """

    needs: ClassVar[tuple[str, ...]] = ("label",)

    def __init__(self, k: int = 20, temperature: float = 0.07) -> None:
        if k < 1 or not temperature > 0:
            raise CrlError(f"k is 1 or more and the temperature above 0, not {k} and {temperature}")
        self.k, self.temperature = k, temperature

    def __call__(self, train: Embeddings, test: Embeddings, views: tuple[Tensor, Tensor] | None) -> dict[str, float]:
        label = train.meta["label"]
        bank = F.normalize(train.z.float(), dim=1)
        right = 0
        for rows in torch.split(torch.arange(len(test)), 1024):
            query = F.normalize(test.z[rows].float(), dim=1)
            similarity, nearest = (query @ bank.T).topk(min(self.k, len(bank)), dim=1)
            votes = torch.zeros(len(rows), int(label.max()) + 1, device=query.device)
            # Less the highest, which changes no winner: exp would overflow at low temperatures.
            votes.scatter_add_(1, label[nearest], ((similarity - similarity[:, :1]) / self.temperature).exp())
            right += int((votes.argmax(1) == test.meta["label"][rows]).sum())
        return {"knn": right / len(test)}
