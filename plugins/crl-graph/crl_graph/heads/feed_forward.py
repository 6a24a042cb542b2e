from __future__ import annotations

from torch import Tensor, nn

from crl_core import Lazy


class FeedForward(Lazy):
    """Three linear layers, each with ReLU, plus one linear map of the input: the head of InfoGraph and MVGRL.

    `[N, width]` to `[N, size]`. Made for the width of its first input.

    >>> import torch
    >>> from crl_graph.heads.feed_forward import FeedForward
    >>> FeedForward(size=32)(torch.randn(10, 8)).shape
    torch.Size([10, 32])

    Args:
        size: numbers in an embedding; None stands for the width of the input.
    """

    def __init__(self, size: int | None = None) -> None:
        super().__init__()
        self.size = size

    def build(self, width: int) -> None:
        size = self.size or width
        widths = [width, size, size]
        self.layers = nn.Sequential(*(part for a in widths for part in (nn.Linear(a, size), nn.ReLU())))
        self.past = nn.Linear(width, size)

    def forward(self, features: Tensor) -> Tensor:
        """`[N, width]` to `[N, size]`."""
        self.ensure_built(features)
        found: Tensor = self.layers(features) + self.past(features)
        return found
