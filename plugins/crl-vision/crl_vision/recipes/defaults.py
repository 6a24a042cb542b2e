"""What the recipes choose by the images that they are given, unless they are told."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor

from crl_core import AdamW, CosineDecay, CrlError, Encoder, Source, Training

from ..encoders.conv_net import ConvNet
from ..encoders.multi_scale import MultiScale
from ..readers.image_reader import ImageReader


class Shape:
    """Channels and number of a source's training images, and the size of what an encoder sees of them.

    Args:
        size: of the views, where they are not as large as the images.
    """

    def __init__(self, source: Source, size: int | None = None) -> None:
        items = source.items(source.splits[0])
        image = items.__getitems__([0]).data
        if not isinstance(image, Tensor) or image.dim() != 4:
            raise CrlError(f"{type(source).__name__} gives no images [N, C, H, W]")
        self.count, self.channels, self.size = len(items), image.shape[1], size or image.shape[-1]
        self.pixels = image.shape[2:]
        self.drawn = self.channels == 1 and image.shape[-1] <= 32
        """Handwriting or drawings: grey and small."""

    @property
    def many(self) -> bool:
        """As many images as the papers' figures are of."""
        return self.count >= 1_000_000

    @property
    def few(self) -> bool:
        """So few images that an epoch is over in seconds."""
        return self.count < 10_000

    def warmup(self, published: int, told: int | None) -> int:
        """Epochs before clusters are worth anything: as told, or as published for a million images, or 5."""
        if told is not None:
            return told
        return published if self.many else 5


def setting_for(shape: Shape, published: str = "simclr") -> str:
    """The published setting of the views; SimCLR has one for small images, and drawings have one of their own."""
    if shape.drawn:
        return "strokes"
    return "simclr-small" if published == "simclr" and shape.size <= 64 else published


def reader_for(shape: Shape) -> ImageReader | None:
    """Makes of anybody's images such as the source has; none for what is not square, or has other channels."""
    height, width = shape.pixels
    return ImageReader(height, shape.channels) if height == width and shape.channels in (1, 3) else None


def encoder_for(shape: Shape) -> Encoder:
    """A small network for small images, so that a first run is done in minutes on any machine."""
    if shape.size <= 32:
        return ConvNet(channels=shape.channels)
    from ..encoders.resnet import ResNet

    return ResNet(stem="small" if shape.size <= 64 else "imagenet", channels=shape.channels)


def training_for(shape: Shape) -> Training:
    """AdamW for batches that a CPU holds; 80 epochs of few items, 20 of many."""
    return Training(
        epochs=80 if shape.few else 20,
        batch_size=128 if shape.few else 256,
        optimiser=AdamW(3e-3, weight_decay=1e-4),
        schedule=CosineDecay(warmup=2.0),
    )


def maps_for(shape: Shape, size: int | None) -> MultiScale:
    """The encoder with maps for images of `size`, or of the size nearest to the source's that there is."""
    sizes: tuple[Literal[16, 32, 64, 128], ...] = (16, 32, 64, 128)
    near = min(sizes, key=lambda side: abs(math.log(side / (size or shape.size))))
    if size is not None and near != size:
        raise CrlError(f"maps are made of images of 16, 32, 64 or 128 pixels, not {size}")
    return MultiScale(near, width=32 if near <= 32 else 64, channels=shape.channels)


def patch_encoder_for(shape: Shape, norm: Literal["none", "layer"]) -> Encoder:
    """A small network for patches of small images; nothing in it lets one patch into another."""
    if shape.size <= 64:
        return ConvNet(width=16, channels=shape.channels, norm=norm)
    from ..encoders.resnet import ResNet

    return ResNet(stem="small", channels=shape.channels, norm=norm)


def context_for(shape: Shape) -> int:
    """Channels of CPC's context: as published, or fewer for small images."""
    return 64 if shape.size <= 64 else 256
