from __future__ import annotations

import torch
from torch import Tensor

from crl_core import CrlError, View, Views

from .augmented import at_once, augment, chosen, middle, pictures
from .settings import Augmentation


class Rotated:
    """An augmented image, and another augmented image of it, rotated by 0°, 90°, 180° or 270°.

    Gidaris et al. 2018; PIRL's other transformation (Misra and van der Maaten 2020). The views are called
    `image` and `turned`; the column `turn` of the second counts quarter turns.

    >>> import torch
    >>> import crl_core as crl
    >>> from crl_vision.samplers.rotated import Rotated
    >>> batch = crl.View(torch.rand(8, 3, 32, 32), {"instance": torch.arange(8)})
    >>> views = Rotated("simclr-small")(batch)
    >>> list(views), set(views["turned"].meta["turn"].tolist()) <= {0, 1, 2, 3}
    (['image', 'turned'], True)

    Args:
        settings: the name of a published setting, or an augmentation for both, or one for each.
        size: height and width of the views, in pixels; None keeps those of the source.

    Raises:
        CrlError: there is no such setting.
        ValueError: a number is out of its range.
    """

    views = ("image", "turned")

    def __init__(self, settings: str | list[Augmentation] = "simclr", size: int | None = None) -> None:
        if size is not None and size < 1:
            raise ValueError(f"size is at least 1 pixel, not {size}")
        self.settings, self.size = settings, size
        hows = chosen(settings)
        self._image, self._turned = hows[0], hows[-1]

    @torch.no_grad()
    def __call__(self, images: View) -> Views:
        with torch.autocast(images.data.device.type, enabled=False):
            whole = middle(images, self.size).data
            if whole.shape[2] != whole.shape[3]:
                raise CrlError(
                    f"only square images keep their shape when turned; these are {list(whole.shape)}: set size"
                )
            image, other = (
                torch.cat([augment(some, how, some.shape[-1]) for some in at_once(whole)])
                for how in (self._image, self._turned)
            )
            turn = torch.randint(0, 4, (len(other),), device=other.device)
            # All four of every image, one of them taken: nothing waits for the device.
            quarters = torch.stack([other.rot90(k, (2, 3)) for k in range(4)], 1)
            turned = quarters[torch.arange(len(other), device=other.device), turn]
        return {"image": View(image, images.meta), "turned": View(turned, {**images.meta, "turn": turn})}

    @torch.no_grad()
    def clean(self, images: View) -> View:
        """The image as it is, resized so that the short side is `size`, and cut to the middle square."""
        return middle(images, self.size)

    def depict(self, images: View) -> Tensor:
        """Pictures for a report: bytes `[N, H, W, 3]`."""
        return pictures(images.data)
