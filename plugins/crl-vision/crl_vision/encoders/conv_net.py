from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from .normalise import Normalise

NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "layer": lambda channels: nn.GroupNorm(1, channels),
    "none": lambda channels: nn.Identity(),
}


class ConvNet(nn.Module):
    """A few 3×3 convolutions for small images; trains within minutes on a CPU.

    `[N, channels, H, W]` to `[N, width · 2^(stages - 1)]`.

    >>> import torch
    >>> from crl_vision.encoders.conv_net import ConvNet
    >>> ConvNet(width=32, stages=4)(torch.rand(2, 3, 32, 32)).shape
    torch.Size([2, 256])

    Args:
        width: channels of the first stage; each further one has twice as many and halves the size.
        stages: how many.
        channels: 1 for grey images, 3 for colour.
        mean, std: by which images from 0 to 1 are normalised, the same for all channels.
        norm: after each convolution: "batch"; "layer", over each image by itself; or "none". Only "batch" lets images,
            or patches, of a batch influence each other.
    """

    def __init__(
        self,
        width: int = 32,
        stages: int = 4,
        channels: int = 3,
        mean: float = 0.5,
        std: float = 0.25,
        norm: Literal["batch", "layer", "none"] = "batch",
    ) -> None:
        super().__init__()
        if width < 1 or stages < 1:
            raise ValueError(f"width and stages are at least 1, not {width} and {stages}")
        if norm not in NORMS:
            raise ValueError(f"norm is {', '.join(NORMS)}, not {norm!r}")
        self.width, self.stages, self.channels, self.mean, self.std = width, stages, channels, mean, std
        self.norm = norm
        widths = [width * 2**stage for stage in range(stages)]
        layers: list[nn.Module] = [Normalise(channels, mean, std)]
        for stage, (before, after) in enumerate(zip([channels, *widths], widths, strict=False)):
            layers += [
                nn.Conv2d(before, after, 3, stride=1 if stage == 0 else 2, padding=1, bias=norm == "none"),
                NORMS[norm](after),
                nn.ReLU(inplace=True),
            ]
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """`[N, channels, H, W]` from 0 to 1, to `[N, width · 2^(stages-1)]`.

        Raises:
            CrlError: the images have another number of channels.
        """
        features: Tensor = self.layers(images)
        return features
