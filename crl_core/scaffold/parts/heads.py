from __future__ import annotations

from torch import Tensor, nn

from crl_core import Lazy


class Residual(Lazy):
    """A linear map to `size` numbers, and a hidden layer that corrects it."""

    def __init__(self, size: int = 64, hidden: int = 64) -> None:
        super().__init__()
        self.size, self.hidden = size, hidden

    def build(self, width: int) -> None:
        self.straight = nn.Linear(width, self.size)
        self.around = nn.Sequential(nn.Linear(width, self.hidden), nn.ReLU(), nn.Linear(self.hidden, self.size))

    def forward(self, features: Tensor) -> Tensor:
        """`[…, width]` to `[…, size]`."""
        self.ensure_built(features)
        output: Tensor = self.straight(features) + self.around(features)
        return output
