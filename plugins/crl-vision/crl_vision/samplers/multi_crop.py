from __future__ import annotations

from collections.abc import Sequence

import attrs
from torch import Tensor

from crl_core import View, Views

from .augmented import Augmented, chosen, pictures
from .settings import Augmentation


class MultiCrop:
    """Some large crops of every image and several small ones, each size a batch of its own (Caron et al. 2020, SwAV).

    The views are called large-1, large-2, …, small-1, small-2, … The other steps are the same for both sizes.

    >>> import torch
    >>> import crl_core as crl
    >>> from crl_vision.samplers.multi_crop import MultiCrop
    >>> batch = crl.View(torch.rand(4, 3, 56, 56), {"instance": torch.arange(4)})
    >>> {name: tuple(view.data.shape) for name, view in MultiCrop(small=1)(batch).items()}
    {'large-1': (4, 3, 56, 56), 'large-2': (4, 3, 56, 56), 'small-1': (4, 3, 24, 24)}

    Args:
        settings: the name of a published setting, or one augmentation for each large crop, in turn; the
            small crops continue the turn. Their own `area` is not used.
        size: height and width of the large crops, in pixels; None keeps those of the source.
        small_size: of the small crops; None stands for 3/7 of the large size, as 96 of 224.
        large, small: how many of each.
        large_area, small_area: the smallest and the largest share of the image in a crop.

    Raises:
        CrlError: there is no such setting.
        ValueError: a number is out of its range.
    """

    def __init__(
        self,
        settings: str | list[Augmentation] = "swav",
        size: int | None = None,
        small_size: int | None = None,
        large: int = 2,
        small: int = 6,
        large_area: tuple[float, float] = (0.14, 1.0),
        small_area: tuple[float, float] = (0.05, 0.14),
    ) -> None:
        if large < 1 or small < 1:
            raise ValueError(f"there is at least 1 crop of each size, not {large} large and {small} small ones")
        if small_size is not None and small_size < 1:
            raise ValueError(f"small_size is at least 1 pixel, not {small_size}")
        self.settings, self.size, self.small_size = settings, size, small_size
        self.large, self.small = large, small
        self.large_area, self.small_area = large_area, small_area
        self.large_views = tuple(f"large-{i + 1}" for i in range(large))
        self.small_views = tuple(f"small-{i + 1}" for i in range(small))
        self.views = self.large_views + self.small_views
        hows = chosen(settings)
        self._large = Augmented(_cropped(hows, large_area, 0)[:large], size, large)
        self._small = _cropped(hows, small_area, large)[:small]

    def __call__(self, images: View) -> Views:
        large = list(self._large(images).values())
        # The default size depends on the data.
        size = self.small_size or max(1, round(min(large[0].data.shape[2:]) * 3 / 7))
        small = Augmented(self._small, size, self.small)(images).values()
        return dict(zip(self.views, [*large, *small], strict=True))

    def clean(self, images: View) -> View:
        """As a large crop: resized so that the short side is `size`, and cut to the middle square."""
        return self._large.clean(images)

    def depict(self, images: View) -> Tensor:
        """Pictures for a report: bytes `[N, H, W, 3]`."""
        return pictures(images.data)


def _cropped(hows: Sequence[Augmentation], area: tuple[float, float], start: int) -> list[Augmentation]:
    """Each augmentation with this area, in turn, beginning with number `start`."""
    return [attrs.evolve(hows[(start + i) % len(hows)], area=area) for i in range(len(hows))]
