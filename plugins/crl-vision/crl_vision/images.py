"""The images that a recipe is for: where they come from, what encodes them, and how large the views are."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any, Literal

import attrs
from torch import Tensor

import crl_core as crl

from .encoders.conv_net import ConvNet
from .encoders.multi_scale import MultiScale
from .readers.image_reader import ImageReader
from .samplers.augmented import Augmented
from .samplers.multi_crop import MultiCrop
from .samplers.settings import Augmentation
from .sources.digits import Digits

DIGITS = {
    "epochs": 80,
    "batch_size": 128,
    "optimiser": crl.AdamW(3e-3, weight_decay=1e-4),
    "schedule": crl.CosineDecay(warmup=2.0),
}
"""How the preset `digits` trains: soon done on a CPU, for thousands of small images."""


@attrs.frozen(eq=False, slots=False)
class Images:
    """The images of a recipe. Its fields are settings of the run: `--set source=…`, `encoder=…`, `size=…`.

    >>> from crl_vision.images import Images
    >>> images = Images()
    >>> images.pixels, images.channels, images.count
    ((16, 16), 1, 1437)

    Args:
        source: of images; 1,797 handwritten digits, which need no download, by default.
        encoder: by default a small network for images up to 32 pixels, ResNet-18 for larger ones. Most papers have
            a ResNet-50: `encoder=vision/resnet50`.
        size: height and width of the views in pixels; as large as the images by default.
    """

    source: crl.Source = attrs.field(factory=Digits)
    encoder: crl.Encoder | None = None
    size: int | None = None

    def recipe(self, training: crl.Training | list[crl.Training], **pipeline: Any) -> crl.Recipe:
        """The recipe of a method for these images; `pipeline` is what `crl.Pipeline` takes."""
        return crl.Recipe(crl.Pipeline(reader=self.reader(), **pipeline), self.source, training)

    def augmented(self, published: str | list[Augmentation] = "simclr", **options: Any) -> Augmented:
        """Views by a published setting, or by one that suits small images or drawings; options of `Augmented`."""
        return Augmented(self.setting(published), size=self.size, **options)

    def crops(self) -> MultiCrop:
        """SwAV's crops; small images have fewer small ones, which show more, so that a crop still shows something."""
        if self.are_drawings:
            setting = self.setting("swav")
            return MultiCrop(setting, self.size, self.side * 3 // 4, 2, 2, large_area=(0.6, 1.0), small_area=(0.4, 0.8))
        if self.side <= 64:
            return MultiCrop("swav", self.size, self.side * 5 // 8, 2, 2, large_area=(0.3, 1.0), small_area=(0.1, 0.4))
        return MultiCrop("swav", self.size)

    def setting(self, published: str | list[Augmentation] = "simclr") -> str | list[Augmentation]:
        """The published setting of the views; SimCLR has one for small images, and drawings have one of their own."""
        if self.are_drawings:
            return "strokes"
        return "simclr-small" if published == "simclr" and self.side <= 64 else published

    def network(self) -> crl.Encoder:
        """The encoder: as given, or a small network for small images, so that a first run takes minutes anywhere."""
        if self.encoder is not None:
            return self.encoder
        if self.side <= 32:
            return ConvNet(channels=self.channels)
        from .encoders.resnet import ResNet

        return ResNet(stem="small" if self.side <= 64 else "imagenet", channels=self.channels)

    def patch_network(self, norm: Literal["none", "layer"]) -> crl.Encoder:
        """The encoder of patches: as given, or a small network in which nothing lets one patch into another."""
        if self.encoder is not None:
            return self.encoder
        if self.side <= 64:
            return ConvNet(width=16, channels=self.channels, norm=norm)
        from .encoders.resnet import ResNet

        return ResNet(stem="small", channels=self.channels, norm=norm)

    def with_maps(self) -> Images:
        """These images with an encoder that has maps of places, and views of its size, unless an encoder is given.

        Raises:
            CrlError: there is no such encoder for views of `size`.
        """
        if self.encoder is not None:
            return self
        sizes: tuple[Literal[16, 32, 64, 128], ...] = (16, 32, 64, 128)
        near = min(sizes, key=lambda size: abs(math.log(size / self.side)))
        if self.size is not None and near != self.size:
            raise crl.CrlError(f"maps are made of images of 16, 32, 64 or 128 pixels, not {self.size}")
        maps = MultiScale(near, width=32 if near <= 32 else 64, channels=self.channels)
        return attrs.evolve(self, encoder=maps, size=near)

    def reader(self) -> ImageReader | None:
        """Reads anybody's images as the source's; None where these are not square, or have other channels."""
        height, width = self.pixels
        return ImageReader(height, self.channels) if height == width and self.channels in (1, 3) else None

    @cached_property
    def first(self) -> Tensor:
        """The first training image, `[1, C, H, W]`."""
        items: Any = self.source.items(self.source.splits[0])
        if hasattr(items, "batches_from"):  # a stream
            image = next(iter(items.batches_from(1, None, 0, 0, 1)))[0].data
        else:
            image = items.__getitems__([0]).data
        if not isinstance(image, Tensor) or image.dim() != 4:
            raise crl.CrlError(f"{type(self.source).__name__} gives no images [N, C, H, W]")
        return image

    @property
    def channels(self) -> int:
        return self.first.shape[1]

    @property
    def pixels(self) -> tuple[int, int]:
        """Height and width of the source's images."""
        height, width = self.first.shape[2:]
        return height, width

    @property
    def side(self) -> int:
        """Height and width of what an encoder sees."""
        return self.size or self.first.shape[-1]

    @property
    def count(self) -> int:
        """How many training images there are."""
        return len(self.source.items(self.source.splits[0]))

    def clusters(self, images_per_cluster: float) -> int:
        """How many clusters there are, if each has so many of the training images; 2 or more."""
        if images_per_cluster < 1:
            raise crl.CrlError(f"a cluster has 1 image or more, not {images_per_cluster}")
        return max(2, int(self.count / images_per_cluster))

    @property
    def are_drawings(self) -> bool:
        """Handwriting or drawings: grey and small."""
        return self.channels == 1 and self.first.shape[-1] <= 32
