from __future__ import annotations

import torch
from torch import Tensor

from crl_core import CrlError, View, Views

from ..augmentation import cut
from .augmented import at_once, augment, chosen, middle, pictures
from .patches import mosaic
from .settings import Augmentation


class Jigsaw:
    """An augmented image, and another augmented image of it, cut into nine patches in a random order.

    The patches come from a 3×3 grid of cells, each at a random place within its cell, so that edges don't
    show what belongs together (Noroozi and Favaro 2016; Misra and van der Maaten 2020, PIRL). The view
    `image` is `[N, C, H, W]`, the view `patches` `[N, 9, C, h, w]`. Its column `order` encodes from which cell
    each patch is, as a number with a digit for each patch, in base nine and the last first.

    >>> import torch
    >>> import crl_core as crl
    >>> from crl_vision.samplers.jigsaw import Jigsaw
    >>> batch = crl.View(torch.rand(4, 3, 75, 75), {"instance": torch.arange(4)})
    >>> {name: tuple(view.data.shape) for name, view in Jigsaw()(batch).items()}
    {'image': (4, 3, 75, 75), 'patches': (4, 9, 3, 21, 21)}

    Args:
        settings: the name of a published setting, or an augmentation for both, or one for each.
        size: height and width of the image, in pixels; None keeps those of the source.
        patch: height and width of the patches; None stands for 64/75 of a cell, as in the papers.

    Raises:
        CrlError: there is no such setting.
        ValueError: a number is out of its range.
    """

    views = ("image", "patches")

    def __init__(
        self, settings: str | list[Augmentation] = "simclr", size: int | None = None, patch: int | None = None
    ) -> None:
        for name, value in (("size", size), ("patch", patch)):
            if value is not None and value < 1:
                raise ValueError(f"{name} is at least 1 pixel, not {value}")
        self.settings, self.size, self.patch = settings, size, patch
        hows = chosen(settings)
        self._image, self._patches = hows[0], hows[-1]

    @torch.no_grad()
    def __call__(self, images: View) -> Views:
        with torch.autocast(images.data.device.type, enabled=False):
            whole = middle(images, self.size).data
            size = (whole.shape[2], whole.shape[3])
            image, other = (
                torch.cat([augment(some, how, size) for some in at_once(whole)]) for how in (self._image, self._patches)
            )
            patches, cells = self._deal(other)
        order = (cells * 9 ** torch.arange(9, device=cells.device)).sum(1)
        return {"image": View(image, images.meta), "patches": View(patches, {**images.meta, "order": order})}

    @torch.no_grad()
    def clean(self, images: View) -> View:
        """The image as it is, resized so that the short side is `size`, and cut to the middle square."""
        return middle(images, self.size)

    def depict(self, images: View) -> Tensor:
        """Pictures for a report: bytes `[N, H, W, 3]`."""
        return pictures(images.data if images.data.dim() == 4 else mosaic(images.data, 3))

    def _deal(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Nine patches of each image in a random order, and out of which cell each is."""
        count, _, height, width = images.shape
        cell = min(height, width) // 3
        patch = self.patch or max(1, cell * 64 // 75)
        if not 1 <= patch <= cell:
            raise CrlError(
                f"images of {height} × {width} have cells of {cell} pixels, too small for patches of {patch}"
            )
        cells = torch.rand(count, 9, device=images.device).argsort(1)
        within = torch.randint(0, cell - patch + 1, (2, count, 9), device=images.device)
        top = cells // 3 * (height // 3) + within[0]
        left = cells % 3 * (width // 3) + within[1]
        return cut(images, top, left, patch), cells
