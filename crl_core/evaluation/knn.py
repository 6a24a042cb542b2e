from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.view import Embeddings
from ..errors import CrlError


def strip(keys: int) -> int:
    """How many queries are compared with so many keys at a time: at most 64 MB of similarities, and 1,024 queries."""
    return max(1, min(1024, (1 << 24) // max(1, keys)))


class KNN:
    """The accuracy of k nearest neighbours: the nearest training items of a test item vote for its label.

    The k nearest by cosine vote with the weight exp(cosine / temperature) (Wu et al. 2018, section 3.4). The result
    `knn` is from 0 to 1.

    >>> import torch
    >>> import crl_core as crl
    >>> train = crl.Embeddings(torch.eye(3), {"label": torch.tensor([0, 1, 2])})
    >>> test = crl.Embeddings(torch.eye(3), {"label": torch.tensor([0, 1, 1])})
    >>> round(crl.KNN(k=1)(train, test, None)["knn"], 3)
    0.667

    Args:
        k: the number of neighbours that vote.
        temperature: above 0; with a lower temperature, the nearest ones have more weight.

    Raises:
        CrlError: k is below 1, or the temperature is not above 0.
    """

    needs: ClassVar[tuple[str, ...]] = ("label",)
    tables: ClassVar[tuple[str, ...]] = ("train", "test")

    def __init__(self, k: int = 20, temperature: float = 0.07) -> None:
        if k < 1 or not temperature > 0:
            raise CrlError(f"k is at least 1 and the temperature above 0, not {k} and {temperature}")
        self.k, self.temperature = k, temperature

    def __call__(self, train: Embeddings, test: Embeddings, views: tuple[Tensor, Tensor] | None) -> dict[str, float]:
        label = train.meta["label"]
        bank = train.z.float()
        length = bank.norm(dim=1).clamp(min=1e-12)  # instead of a normalised copy of the bank
        right = 0
        for rows in torch.split(torch.arange(len(test), device=bank.device), strip(len(bank))):
            query = F.normalize(test.z[rows].float(), dim=1)
            similarity, nearest = (query @ bank.T).div_(length).topk(min(self.k, len(bank)), dim=1)
            votes = torch.zeros(len(rows), int(label.max()) + 1, device=query.device)
            # The highest is subtracted, which doesn't change the vote, because exp would overflow at low temperatures.
            votes.scatter_add_(1, label[nearest], ((similarity - similarity[:, :1]) / self.temperature).exp())
            right += int((votes.argmax(1) == test.meta["label"][rows]).sum())
        return {"knn": right / len(test)}
