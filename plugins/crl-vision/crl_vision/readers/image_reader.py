from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from crl_core import CrlError, View

from ..sources.folder import read, square


class ImageReader:
    """Makes a batch of images: from paths, the bytes of a file, Pillow's images, arrays and tensors.

    The batch is bytes `[N, channels, size, size]`: the short side is scaled and the middle cut out, and a file is
    decoded as the source `vision/folder` decodes it. Arrays are `[H, W]` or `[H, W, 1, 3 or 4]`, tensors `[H, W]` or
    `[1, 3 or 4, H, W]`, of bytes or of numbers from 0 to 1, which become bytes.

    >>> import numpy as np
    >>> from crl_vision.readers.image_reader import ImageReader
    >>> view = ImageReader(size=32)([np.zeros((48, 64, 3)), np.zeros((100, 80), np.uint8)])
    >>> view.data.shape, view.data.dtype, view.meta["instance"]
    (torch.Size([2, 3, 32, 32]), torch.uint8, tensor([0, 1]))

    Args:
        size: height and width; None keeps the length of each image's short side, which must be the same for all.
        channels: 3 for colour, 1 for grey.

    Raises:
        ValueError: `channels` is neither 1 nor 3, or the size is below 1.
        CrlError: an item is no image; the message names it.
    """

    def __init__(self, size: int | None = None, channels: int = 3) -> None:
        if channels not in (1, 3):
            raise ValueError(f"channels is 1 or 3, not {channels}")
        if size is not None and size < 1:
            raise ValueError(f"size is at least 1 pixel, not {size}")
        self.size, self.channels = size, channels

    def __call__(self, items: Sequence[Any]) -> View:
        if not len(items):
            raise CrlError("there is no image to read")
        images = [self._image(place, item) for place, item in enumerate(items)]
        sizes = [image.shape[-1] for image in images]
        if len(set(sizes)) > 1:
            other = next(place for place, size in enumerate(sizes) if size != sizes[0])
            raise CrlError(
                f"item {other} has {sizes[other]} pixels, and item 0 {sizes[0]}: give the reader a `size` for all"
            )
        return View(torch.stack(images), {"instance": torch.arange(len(images))})

    def _image(self, place: int, item: Any) -> Tensor:
        try:
            return self._read(item)
        except Exception as error:  # decoders raise whatever they like
            what = repr(str(item)) if isinstance(item, (str, Path)) else f"of type {type(item).__name__}"
            raise CrlError(f"item {place}, {what}, is no image: {type(error).__name__}: {error}") from error

    def _read(self, item: Any) -> Tensor:
        if isinstance(item, (str, Path)):
            return read(Path(item), self.size, self.channels)
        if isinstance(item, (bytes, bytearray, memoryview)):
            return read(io.BytesIO(item), self.size, self.channels)
        if isinstance(item, Tensor):
            item = item.detach().cpu()
            item = (item.permute(1, 2, 0) if item.dim() == 3 else item).numpy()
        if isinstance(item, np.ndarray):
            item = _from_array(item)
        if not isinstance(item, Image.Image):
            raise TypeError("an item is a path, the bytes of a file, an image of Pillow, an array or a tensor")
        return square(item, self.size, self.channels)


def _from_array(array: np.ndarray[Any, Any]) -> Image.Image:
    """An image of bytes."""
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (3, 4))) or not array.size:
        raise ValueError(f"its shape is {list(array.shape)}: an image has height, width, and 1, 3 or 4 channels")
    if array.dtype == np.bool_ or np.issubdtype(array.dtype, np.floating):
        if not (array.min() >= 0 and array.max() <= 1):
            raise ValueError("it has numbers that are not from 0 to 1: divide by 255, or hand over bytes (uint8)")
        array = (array.astype(np.float64) * 255).round().astype(np.uint8)
    if array.dtype != np.uint8:
        raise ValueError(f"it is of bytes (uint8) or of numbers from 0 to 1, not {array.dtype}")
    return Image.fromarray(np.ascontiguousarray(array))
