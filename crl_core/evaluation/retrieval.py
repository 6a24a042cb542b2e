from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.view import Embeddings
from ..errors import CrlError
from .knn import strip


class Retrieval:
    """Recall@k: the share of test items with an item of the same label among the k nearest other test items.

    The nearest are those with the highest cosine. Items whose label no other test item has are left out (Oh Song et
    al. 2016, section 5). The results `recall@k` are from 0 to 1.

    >>> import torch
    >>> import crl_core as crl
    >>> z = torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [0.0, 1.0]])
    >>> test = crl.Embeddings(z, {"label": torch.tensor([0, 0, 1, 1])})
    >>> crl.make("evaluator", "retrieval", k=[1, 3])(test, test, None)
    {'recall@1': 0.5, 'recall@3': 1.0}

    Args:
        k: one or more numbers of neighbours; None for 1, 5 and 10.

    Raises:
        CrlError: a number is below 1, or there are none.
    """

    needs: ClassVar[tuple[str, ...]] = ("label",)
    tables: ClassVar[tuple[str, ...]] = ("test",)

    def __init__(self, k: list[int] | None = None) -> None:
        if k is not None and (not k or min(k) < 1):
            raise CrlError(f"k is a list of numbers of neighbours, each at least 1, not {k}")
        self.k = k

    def __call__(
        self, train: Embeddings | None, test: Embeddings, views: tuple[Tensor, Tensor] | None
    ) -> dict[str, float]:
        ks = self.k or [1, 5, 10]
        label = test.meta["label"]
        _, which, count = torch.unique(label, return_inverse=True, return_counts=True)
        asked = (count[which] > 1).nonzero().squeeze(1)
        if not len(asked):
            return {f"recall@{k}": 0.0 for k in ks}
        hits = torch.cat(list(self._hits(test.z, label, asked, max(ks))))
        return {f"recall@{k}": float(hits[:, :k].any(1).float().mean()) for k in ks}

    @staticmethod
    def _hits(z: Tensor, label: Tensor, asked: Tensor, most: int) -> Iterator[Tensor]:
        """Whether each of the nearest others of these queries has the same label, `[n, most]`."""
        z = z.float()
        length = z.norm(dim=1).clamp(min=1e-12)
        for rows in torch.split(asked, strip(len(z))):
            similarity = (F.normalize(z[rows], dim=1) @ z.T).div_(length)
            similarity[torch.arange(len(rows), device=z.device), rows] = -torch.inf  # an item is not its own neighbour
            nearest = similarity.topk(min(most, len(z) - 1), dim=1).indices
            yield label[nearest] == label[rows].unsqueeze(1)
