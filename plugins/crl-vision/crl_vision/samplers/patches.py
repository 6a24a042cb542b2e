from __future__ import annotations

import torch
from torch import Tensor

from crl_core import CrlError, View, Views

from ..augmentation import cut
from .augmented import at_once, augment, chosen, middle, pictures
from .settings import Augmentation


class Patches:
    """Every image as a grid of overlapping patches, `[N, grid · grid, C, patch, patch]`, line by line.

    With the defaults neighbours overlap by half: 7×7 patches of 64 pixels of an image of 256 (van den Oord et al.
    2018, CPC). The one view is called `image`; the core adds the column `position`, the place in the grid.

    >>> import torch
    >>> import crl_core as crl
    >>> from crl_vision.samplers.patches import Patches
    >>> batch = crl.View(torch.rand(2, 3, 64, 64), {"instance": torch.arange(2)})
    >>> Patches(grid=3)(batch)["image"].data.shape
    torch.Size([2, 9, 3, 32, 32])

    Args:
        settings: applied to the whole image first, the name of a published setting or an augmentation; None for
            nothing.
        each: then applied to each patch by itself, with its own random parameters (Hénaff et al. 2020, CPC v2).
        size: height and width to which the image is scaled, in pixels; None keeps those of the source.
        grid: patches along each side.
        patch: height and width of a patch; None makes neighbours overlap by half.
        jitter: the maximum number of pixels by which each patch is moved at random, inside the image.

    Raises:
        CrlError: there is no such setting.
        ValueError: a number is out of its range.
    """

    views = ("image",)

    def __init__(
        self,
        settings: str | list[Augmentation] | None = None,
        each: str | list[Augmentation] | None = None,
        size: int | None = None,
        grid: int = 7,
        patch: int | None = None,
        jitter: int = 0,
    ) -> None:
        for name, value, least in (("grid", grid, 1), ("patch", patch, 1), ("size", size, 1), ("jitter", jitter, 0)):
            if value is not None and value < least:
                raise ValueError(f"{name} is at least {least}, not {value}")
        self.settings, self.each, self.size = settings, each, size
        self.grid, self.patch, self.jitter = grid, patch, jitter
        self._whole, self._patch = (None if how is None else chosen(how)[0] for how in (settings, each))

    @torch.no_grad()
    def __call__(self, images: View) -> Views:
        with torch.autocast(images.data.device.type, enabled=False):
            whole = middle(images, self.size).data
            if self._whole is not None:
                whole = torch.cat(
                    [augment(some, self._whole, (some.shape[2], some.shape[3])) for some in at_once(whole)]
                )
            patches = self._cut(whole, self.jitter)
            if self._patch is not None:
                how, size = self._patch, patches.shape[-1]
                every = patches.flatten(0, 1)
                every = torch.cat([augment(some, how, size) for some in at_once(every)])
                patches = every.view(patches.shape)
        return {"image": View(patches, images.meta)}

    @torch.no_grad()
    def clean(self, images: View) -> View:
        """The same grid on the middle square, nothing moved and nothing changed."""
        whole = middle(images, self.size)
        return View(self._cut(whole.data, 0), whole.meta)

    def depict(self, images: View) -> Tensor:
        """Pictures for a report, the patches side by side: bytes `[N, H, W, 3]`."""
        return pictures(mosaic(images.data, self.grid))

    def _cut(self, images: Tensor, jitter: int) -> Tensor:
        count, _, height, width = images.shape
        if height != width:
            raise CrlError(f"a grid of patches is cut out of square images, and these are {height} × {width}: set size")
        patch = self.patch or 2 * height // (self.grid + 1)
        room = height - patch
        if patch < 1 or room < 0:
            raise CrlError(f"images of {height} × {width} have no {self.grid} × {self.grid} patches of {patch} pixels")
        device = images.device
        starts = torch.linspace(0, room, self.grid, device=device).round().long() if self.grid > 1 else None
        starts = torch.tensor([room // 2], device=device) if starts is None else starts
        corner = torch.cartesian_prod(starts, starts).view(1, -1, 2).expand(count, -1, -1)
        if jitter:
            corner = corner + torch.randint(-jitter, jitter + 1, corner.shape, device=device)
            corner = corner.clamp(0, room)
        return cut(images, corner[..., 0], corner[..., 1], patch)


def mosaic(patches: Tensor, columns: int) -> Tensor:
    """Patches `[N, L, C, h, w]` line by line in one image, white lines between: `[N, C, H, W]`."""
    count, many, channels, height, width = patches.shape
    framed = patches.new_ones(count, many, channels, height + 1, width + 1)
    framed[..., :height, :width] = patches
    lines = framed.view(count, many // columns, columns, channels, height + 1, width + 1)
    return lines.permute(0, 3, 1, 4, 2, 5).reshape(count, channels, -1, columns * (width + 1))
