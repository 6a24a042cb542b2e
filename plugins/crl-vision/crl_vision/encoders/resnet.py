from __future__ import annotations

from typing import Literal

import torch
import torchvision
from torch import Tensor, nn

from .normalise import Normalise


class ResNet(nn.Module):
    """torchvision's ResNet without its classifier (He et al. 2016).

    Args:
        depth: layers.
        stem: "imagenet" halves the size twice before the first block; "small", for images of about
            32 pixels, starts with one 3×3 convolution instead (Chen et al. 2020, appendix B.9).
        channels: 1 for grey images, 3 for colour.
        mean, std: by which images from 0 to 1 are normalised, the same for all channels.

    Raises:
        ValueError: there is no such depth or stem.
    """

    def __init__(
        self,
        depth: Literal[18, 34, 50, 101, 152] = 18,
        stem: Literal["imagenet", "small"] = "imagenet",
        channels: int = 3,
        mean: float = 0.45,
        std: float = 0.25,
    ) -> None:
        super().__init__()
        if depth not in (18, 34, 50, 101, 152):
            raise ValueError(f"depth is 18, 34, 50, 101 or 152, not {depth!r}")
        if stem not in ("imagenet", "small"):
            raise ValueError(f'stem is "imagenet" or "small", not {stem!r}')
        self.depth, self.stem, self.channels, self.mean, self.std = depth, stem, channels, mean, std
        net = getattr(torchvision.models, f"resnet{depth}")(weights=None)
        if stem == "small":
            net.conv1, net.maxpool = nn.Conv2d(channels, 64, 3, padding=1, bias=False), nn.Identity()
        elif channels != 3:
            net.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
        net.fc = nn.Identity()
        self.layers = nn.Sequential(Normalise(channels, mean, std), net)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """`[N, channels, H, W]` from 0 to 1, to `[N, 512]` (2048 from depth 50 on)."""
        features: Tensor = self.layers(images)
        return features
