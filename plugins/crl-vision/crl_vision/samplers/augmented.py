from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice

import torch
import torch.nn.functional as F
from torch import Tensor

from crl_core import CrlError, View, Views, did_you_mean

from .parameters import Drawn, apply, columns_of, draw
from .settings import SETTINGS, Augmentation

_CACHED = 400_000  # numbers; twice as many, or half, cost up to a third more time


class Augmented:
    """Two or more random views of every image, all made at once on the batch's device.

    Images `[N, C, H, W]`, bytes or numbers from 0 to 1, to `count` views `[N, C, size, size]`.

    >>> import torch
    >>> import crl_core as crl
    >>> from crl_vision.samplers.augmented import Augmented
    >>> batch = crl.View(torch.rand(4, 3, 32, 32), {"instance": torch.arange(4)})
    >>> views = Augmented("simclr-small", size=24)(batch)
    >>> {name: tuple(view.data.shape) for name, view in views.items()}
    {'a': (4, 3, 24, 24), 'b': (4, 3, 24, 24)}

    Args:
        settings: the name of a published setting, or one augmentation for each view, in turn.
        size: height and width of the views, in pixels; None keeps those of the source.
        count: views of each image; they are called a, b, c, …
        shared: what all views of an image have in common with the first, of "move", "crop", "flip",
            "colour", "grey", "blur" and "solarise".
        record: every view gets the columns `drawn_…`, which say how it was made: `replay` reads them.

    Raises:
        CrlError: there is no such setting, or nothing of such a name to share.
        ValueError: a number is out of its range, or there are more augmentations than views.
    """

    def __init__(
        self,
        settings: str | list[Augmentation] = "simclr",
        size: int | None = None,
        count: int = 2,
        shared: list[str] | None = None,
        record: bool = False,
    ) -> None:
        if not 1 <= count <= 26:
            raise ValueError(f"count is from 1 to 26, not {count}")
        if size is not None and size < 1:
            raise ValueError(f"size is at least 1 pixel, not {size}")
        if not isinstance(settings, str) and not 1 <= len(settings) <= count:
            raise ValueError(f"{len(settings)} augmentations for {count} views: give 1 for all, or one for each")
        self.settings, self.size, self.count, self.record = settings, size, count, record
        self.shared = shared
        self.views = tuple(map(chr, range(ord("a"), ord("a") + count)))
        self.augmentations = list(islice(cycle(chosen(settings)), count))
        self._shared = columns_of(shared or [])

    @torch.no_grad()
    def __call__(self, images: View) -> Views:
        data = unit(images.data)
        parts = at_once(data)
        views: dict[str, View] = {}
        first: list[Drawn] = []
        for name, how in zip(self.views, self.augmentations, strict=True):
            drawn = [draw(how, part) for part in parts]
            first = first or drawn
            if self._shared:
                drawn = [own.sharing(other, self._shared) for own, other in zip(drawn, first, strict=True)]
            views[name] = self._made(images, parts, drawn)
        return views

    @torch.no_grad()
    def replay(self, images: View, recorded: Views) -> Views:
        """Views of these images made as those were, row by row.

        Raises:
            CrlError: they were not recorded, are another number, or a crop lies outside these images.
        """
        data = unit(images.data)
        parts = at_once(data)
        found = {}
        for name in self.views:
            drawn = Drawn.read(recorded[name].meta)
            drawn.check(data)
            found[name] = self._made(images, parts, drawn.split(len(parts[0])))
        return found

    def _made(self, images: View, parts: Sequence[Tensor], drawn: Sequence[Drawn]) -> View:
        size = (self.size, self.size) if self.size else (parts[0].shape[2], parts[0].shape[3])
        with torch.autocast(parts[0].device.type, enabled=False):  # pixels keep their precision in anybody's loop
            data = torch.cat([apply(some, one, size) for some, one in zip(parts, drawn, strict=True)])
        return View(data, {**images.meta, **(Drawn.joined(drawn).columns() if self.record else {})})

    @torch.no_grad()
    def clean(self, images: View) -> View:
        """Resized so that the short side is `size`, and cut to the middle square."""
        return middle(images, self.size)

    def depict(self, images: View) -> Tensor:
        """Pictures for a report: bytes `[N, H, W, 3]`."""
        return pictures(images.data)


def middle(images: View, size: int | None) -> View:
    """From 0 to 1, resized so that the short side is `size`, and cut to the middle square; whole where it is None."""
    data = unit(images.data)
    if size is not None and data.shape[-2:] != (size, size):
        height, width = data.shape[-2:]
        short = size / min(height, width)
        shape = (max(size, round(height * short)), max(size, round(width * short)))
        data = F.interpolate(data, shape, mode="bilinear", antialias=True)
        top, left = (shape[0] - size) // 2, (shape[1] - size) // 2
        data = data[:, :, top : top + size, left : left + size].clamp(0, 1)
    return View(data, images.meta)


def pictures(images: Tensor) -> Tensor:
    """Images as bytes `[N, H, W, 3]`."""
    pixels = (unit(images).clamp(0, 1) * 255).round().to(torch.uint8)
    return pixels.expand(-1, 3, -1, -1).permute(0, 2, 3, 1)


def chosen(settings: str | list[Augmentation]) -> Sequence[Augmentation]:
    """The augmentations of a published setting, or those that are given.

    Raises:
        CrlError: there is no such setting.
    """
    if isinstance(settings, str) and settings not in SETTINGS:
        raise CrlError(f"no setting {settings!r}; there are {', '.join(SETTINGS)}.{did_you_mean(settings, SETTINGS)}")
    return SETTINGS[settings] if isinstance(settings, str) else settings


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


def at_once(images: Tensor) -> tuple[Tensor, ...]:
    """The whole batch; on a CPU as many images at a time as its cache holds through all steps."""
    if images.device.type != "cpu":
        return (images,)
    return tuple(images.split(max(1, _CACHED // max(1, images[:1].numel()))))


def augment(images: Tensor, how: Augmentation, size: int | tuple[int, int]) -> Tensor:
    """One random view of every image: `[N, C, H, W]` from 0 to 1, to `[N, C, *size]`; one number makes a square."""
    return apply(images, draw(how, images), (size, size) if isinstance(size, int) else size)
