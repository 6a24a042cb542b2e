from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn


class Convolutions(nn.Module):
    """Three convolutions over time, and the mean over time.

    Args:
        width: the width of the representation.
        channels: the number of channels of the series.
    """

    def __init__(self, width: int = 32, channels: int = 2) -> None:
        super().__init__()
        self.width, self.channels = width, channels
        widths = [channels, width, width, width]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv1d(before, after, 5, stride=2, padding=2, bias=False), nn.BatchNorm1d(after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten())

    def forward(self, series: Tensor) -> Tensor:
        """`[N, channels, length]` to `[N, width]`."""
        found: Tensor = self.layers(series)
        return found
