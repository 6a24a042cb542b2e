from __future__ import annotations

import math
from itertools import cycle, islice

import torch
import torch.nn.functional as F
from torch import Tensor

from crl_core.errors import CrlError, nearest
from crl_core.protocols import View, Views

from .. import augmentation as batch
from .settings import SETTINGS, Augmentation

_CACHED = 400_000  # numbers; twice as many, or half, cost up to a third more time


class Augmented:
    """Two or more random views of every image, all made at once on the device where the batch is.

    Args:
        settings: the name of a published setting, or one augmentation for each view, in turn.
        size: height and width of the views, in pixels; None keeps those of the source.
        count: views of each image; they are called a, b, c, …

    Raises:
        CrlError: there is no such setting.
        ValueError: a number is out of its range, or there are more augmentations than views.
    """

    def __init__(self, settings: str | list[Augmentation] = "simclr", size: int | None = None, count: int = 2) -> None:
        if not 1 <= count <= 26:
            raise ValueError(f"count is from 1 to 26, not {count}")
        if isinstance(settings, str) and settings not in SETTINGS:
            raise CrlError(f"no setting {settings!r}; there are {', '.join(SETTINGS)}.{nearest(settings, SETTINGS)}")
        if size is not None and size < 1:
            raise ValueError(f"size is at least 1 pixel, not {size}")
        if not isinstance(settings, str) and not 1 <= len(settings) <= count:
            raise ValueError(f"{len(settings)} augmentations for {count} views: give 1 for all, or one for each")
        self.settings, self.size, self.count = settings, size, count
        self.views = tuple(map(chr, range(ord("a"), ord("a") + count)))
        chosen = SETTINGS[settings] if isinstance(settings, str) else settings
        self.augmentations = list(islice(cycle(chosen), count))

    @torch.no_grad()
    def __call__(self, images: View) -> Views:
        data = unit(images.data)
        size = self.size or (data.shape[2], data.shape[3])
        with torch.autocast(data.device.type, enabled=False):  # pixels keep their precision in anybody's loop
            return {
                name: View(torch.cat([augment(some, how, size) for some in _at_once(data)]), images.meta)
                for name, how in zip(self.views, self.augmentations, strict=True)
            }

    @torch.no_grad()
    def clean(self, images: View) -> View:
        """Resized so that the short side is `size`, and cut to the middle square."""
        data = unit(images.data)
        if self.size is not None and data.shape[-2:] != (self.size, self.size):
            height, width = data.shape[-2:]
            short = self.size / min(height, width)
            shape = (max(self.size, round(height * short)), max(self.size, round(width * short)))
            data = F.interpolate(data, shape, mode="bilinear", antialias=True)
            top, left = (shape[0] - self.size) // 2, (shape[1] - self.size) // 2
            data = data[:, :, top : top + self.size, left : left + self.size].clamp(0, 1)
        return View(data, images.meta)

    def depict(self, images: View) -> Tensor:
        """Pictures for a report: bytes `[N, H, W, 3]`."""
        pixels = (unit(images.data).clamp(0, 1) * 255).round().to(torch.uint8)
        return pixels.expand(-1, 3, -1, -1).permute(0, 2, 3, 1)


def unit(images: Tensor) -> Tensor:
    """Images `[N, C, H, W]` of bytes, or of numbers from 0 to 1, as float32 from 0 to 1.

    Raises:
        CrlError: they are neither.
    """
    if images.dim() != 4 or images.shape[1] not in (1, 3):
        raise CrlError(f"images are [N, 1 or 3, H, W]; these are {list(images.shape)}")
    if images.dtype == torch.uint8:
        return images.float().div_(255)
    if not images.is_floating_point():
        raise CrlError(f"images are bytes (uint8) or numbers from 0 to 1; these are {images.dtype}")
    return images.float()


def _at_once(images: Tensor) -> tuple[Tensor, ...]:
    """The whole batch; on a CPU as many images at a time as its cache holds through all steps."""
    if images.device.type != "cpu":
        return (images,)
    return images.split(max(1, _CACHED // max(1, images[:1].numel())))


def augment(images: Tensor, how: Augmentation, size: int | tuple[int, int]) -> Tensor:
    """One random view of every image: `[N, C, H, W]` from 0 to 1, to `[N, C, *size]`; one number makes a square."""
    count, _, height, width = images.shape
    size = (size, size) if isinstance(size, int) else size
    if how.rotate or how.shear or how.shift or how.zoom != (1.0, 1.0):
        images = _moved(images, how)
    if how.area == (1.0, 1.0):
        box = batch.whole_boxes(count, height, width, images)
    else:
        box = batch.crop_boxes(count, height, width, how.area, how.ratio, images)
    images = batch.crop_resize(images, box, size, batch.happens(how.flip, count, images))
    if how.jitter:
        images = _jittered(images, how)
    if how.grey:
        images = batch.to_grey(images, batch.happens(how.grey, count, images))
    if how.blur:
        sigma = batch.uniform(*how.sigma, count, images) * batch.happens(how.blur, count, images)
        images = batch.blur(images, sigma, radius=max(1, min(size) // 20))  # a kernel of a tenth of the image
    if how.solarise:
        images = batch.solarise(images, batch.happens(how.solarise, count, images))
    return images.clamp(0, 1).contiguous()  # sums of weights are 1 up to rounding


def _moved(images: Tensor, how: Augmentation) -> Tensor:
    count = len(images)
    angle = batch.uniform(-how.rotate, how.rotate, count, images)
    shear = batch.uniform(-how.shear, how.shear, count, images)
    shift = batch.uniform(-how.shift, how.shift, 2 * count, images).view(count, 2)
    zoom = batch.uniform(math.log(how.zoom[0]), math.log(how.zoom[1]), count, images).exp()
    return batch.move(images, angle, shift, zoom, shear)


def _jittered(images: Tensor, how: Augmentation) -> Tensor:
    count = len(images)
    applies = batch.happens(how.jitter, count, images)

    def factor(strength: float) -> Tensor:
        return torch.where(applies, batch.uniform(max(0.0, 1 - strength), 1 + strength, count, images), 1.0)

    hue = batch.uniform(-how.hue, how.hue, count, images) * applies
    return batch.jitter(images, factor(how.brightness), factor(how.contrast), factor(how.saturation), hue)
