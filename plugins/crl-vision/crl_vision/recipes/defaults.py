"""What the recipes choose by the images that they are given, unless they are told."""

from __future__ import annotations

from torch import Tensor

from crl_core.engine.training import Training
from crl_core.errors import CrlError
from crl_core.protocols import Encoder, Source

from ..encoders.conv_net import ConvNet


class Shape:
    """Channels, size and number of a source's training images."""

    def __init__(self, source: Source) -> None:
        items = source.items(source.splits[0])
        image = items.__getitems__([0]).data
        if not isinstance(image, Tensor) or image.dim() != 4:
            raise CrlError(f"{type(source).__name__} gives no images [N, C, H, W]")
        self.count, self.channels, self.size = len(items), image.shape[1], image.shape[-1]

    @property
    def drawn(self) -> bool:
        """Handwriting or drawings: grey and small."""
        return self.channels == 1 and self.size <= 32

    @property
    def few(self) -> bool:
        """So few images that an epoch is over in seconds."""
        return self.count < 10_000


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
        learning_rate=3e-3,
        weight_decay=1e-4,
        warmup=2.0,
    )
