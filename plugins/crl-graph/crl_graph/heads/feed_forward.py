from __future__ import annotations

from torch import Tensor, nn

from crl_core import Lazy


class FeedForward(Lazy):
    """Three layers, each with ReLU, beside a linear way past them: the head of InfoGraph and MVGRL.

    Args:
        size: numbers in an embedding; None stands for as many as there are.
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
