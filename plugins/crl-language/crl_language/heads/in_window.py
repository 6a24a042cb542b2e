from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crl_core import Embeddings


class Around(nn.Module):
    """The words around a centre as one row, with zeros where the centre stands; see `WindowScore`.

    Features `vectors` `[N, 2 w, d]`, w words before the centre and w after it, to `[N, (2 w + 1) d]`.

    >>> import torch
    >>> from crl_language.heads.in_window import Around
    >>> Around()({"vectors": torch.tensor([[[1.0, 2.0], [5.0, 6.0]]])}).z
    tensor([[1., 2., 0., 0., 5., 6.]])
    """

    def forward(self, features: Mapping[str, Tensor]) -> Embeddings:
        vectors = features["vectors"]
        before, after = vectors.chunk(2, 1)
        rows = torch.cat([before, torch.zeros_like(vectors[:, :1]), after], 1).flatten(1)
        return Embeddings(rows, {"valid": torch.ones(len(rows), dtype=torch.bool, device=rows.device)})


class Centre(nn.Module):
    """Words in the middle of a window that is zeros elsewhere; see `WindowScore`.

    Features `vectors` `[N, K, d]` to `[N, K, (2 w + 1) d]`.

    >>> import torch
    >>> from crl_language.heads.in_window import Centre
    >>> Centre(window=1)({"vectors": torch.tensor([[[3.0, 4.0]]])})
    tensor([[[0., 0., 3., 4., 0., 0.]]])

    Args:
        window: w, the words on each side.
    """

    def __init__(self, window: int = 5) -> None:
        super().__init__()
        self.window = window

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        vectors = features["vectors"]
        edge = self.window * vectors.shape[-1]
        return F.pad(vectors, (edge, edge))
