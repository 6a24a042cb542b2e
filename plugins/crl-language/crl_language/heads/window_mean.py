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

    Args:
        whole_gradient: every word gets the whole gradient of the mean, as in word2vec.c, and not its share of it.
    """

    def __init__(self, whole_gradient: bool = False) -> None:
        super().__init__()
        self.whole_gradient = whole_gradient

    def forward(self, features: Mapping[str, Tensor]) -> Embeddings:
        total, count = features["vectors"].sum(1), features["there"].sum(1)
        mean = total / count.clamp(min=1).unsqueeze(1)
        if self.whole_gradient:
            mean = total + (mean - total).detach()
        return Embeddings(mean, {"valid": count > 0})
