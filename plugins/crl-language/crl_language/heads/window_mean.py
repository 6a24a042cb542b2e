from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from crl_core import Embeddings


class WindowMean(nn.Module):
    """The mean of the words of each window, as in word2vec's CBOW.

    Features `vectors` `[N, W, d]` and `there` `[N, W]`, as `WordVectors` gives them, to `[N, d]`.

    >>> import torch
    >>> from crl_language.heads.window_mean import WindowMean
    >>> vectors = torch.tensor([[[1.0], [3.0], [0.0]]])
    >>> WindowMean()({"vectors": vectors, "there": torch.tensor([[True, True, False]])}).z
    tensor([[2.]])
    """

    def forward(self, features: Mapping[str, Tensor]) -> Embeddings:
        vectors, there = features["vectors"], features["there"]
        count = there.sum(1, keepdim=True)
        return Embeddings(vectors.sum(1) / count.clamp(min=1), {"valid": count.squeeze(1) > 0})
