"""How strongly images are augmented: the published settings, by name."""

from __future__ import annotations

import math
from typing import Any

import attrs


def _number(low: float, high: float = math.inf) -> Any:
    """A check that a number is from `low` to `high`."""

    def check(instance: Any, field: attrs.Attribute[float], value: float) -> None:
        if not (low <= value <= high and math.isfinite(value)):
            span = f"from {low:g} to {high:g}" if high < math.inf else f"a number of at least {low:g}"
            raise ValueError(f"{field.name} is {span}, not {value!r}")

    return check


def _range(low: float, high: float = math.inf, *, open_below: bool = False) -> Any:
    """A check that two numbers, the smaller one first, are from `low` to `high`; above `low` if it is open below."""

    def check(instance: Any, field: attrs.Attribute[tuple[float, float]], value: tuple[float, float]) -> None:
        smallest, largest = value
        above = low < smallest if open_below else low <= smallest
        if not (above and smallest <= largest <= high and math.isfinite(largest)):
            span = f"{'above' if open_below else 'from'} {low:g}" + (f" up to {high:g}" if high < math.inf else "")
            raise ValueError(f"{field.name} is the smallest and the largest, {span}; not {value!r}")

    return check


@attrs.frozen(kw_only=True)
class Augmentation:
    """One view's augmentation. What has probability or strength 0 is left out.

    Args:
        area, ratio: of the random crop, as fractions of the image and as width by height; an area of
            (1, 1) leaves the image whole.
        rotate, shear: at most so many degrees either way.
        shift: at most so much of the size either way.
        zoom: smallest and largest factor.
        flip: probability of mirroring left and right.
        jitter: probability of the colour jitter; `brightness`, `contrast` and `saturation` change
            by a factor of at most 1 ± that, `hue` by at most that much of the circle.
        grey: probability of losing all colour.
        blur: probability of Gaussian blur, with a `sigma` between these, in pixels.
        solarise: probability of inverting what is brighter than half.

    Raises:
        ValueError: a number is out of its range.
    """

    area: tuple[float, float] = attrs.field(default=(1.0, 1.0), validator=_range(0, 1, open_below=True))
    ratio: tuple[float, float] = attrs.field(default=(3 / 4, 4 / 3), validator=_range(0, open_below=True))
    rotate: float = attrs.field(default=0.0, validator=_number(0))
    shear: float = attrs.field(default=0.0, validator=_number(0, 89))
    shift: float = attrs.field(default=0.0, validator=_number(0))
    zoom: tuple[float, float] = attrs.field(default=(1.0, 1.0), validator=_range(0, open_below=True))
    flip: float = attrs.field(default=0.0, validator=_number(0, 1))
    jitter: float = attrs.field(default=0.0, validator=_number(0, 1))
    brightness: float = attrs.field(default=0.0, validator=_number(0))
    contrast: float = attrs.field(default=0.0, validator=_number(0))
    saturation: float = attrs.field(default=0.0, validator=_number(0))
    hue: float = attrs.field(default=0.0, validator=_number(0, 0.5))
    grey: float = attrs.field(default=0.0, validator=_number(0, 1))
    blur: float = attrs.field(default=0.0, validator=_number(0, 1))
    sigma: tuple[float, float] = attrs.field(default=(0.1, 2.0), validator=_range(0))
    solarise: float = attrs.field(default=0.0, validator=_number(0, 1))


def _simclr(strength: float, blur: float) -> Augmentation:
    return Augmentation(
        area=(0.08, 1.0),
        flip=0.5,
        jitter=0.8,
        brightness=0.8 * strength,
        contrast=0.8 * strength,
        saturation=0.8 * strength,
        hue=0.2 * strength,
        grey=0.2,
        blur=blur,
    )


_BYOL = Augmentation(
    area=(0.08, 1.0), flip=0.5, jitter=0.8, brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, grey=0.2
)

SETTINGS: dict[str, tuple[Augmentation, ...]] = {
    # Chen et al. 2020, appendix A; for CIFAR-10 (appendix B.9) half the colour strength and no blur.
    "simclr": (_simclr(strength=1.0, blur=0.5),),
    "simclr-small": (_simclr(strength=0.5, blur=0.0),),
    # Wu et al. 2018, and He et al. 2020 in their code.
    "moco-v1": (
        Augmentation(
            area=(0.2, 1.0), flip=0.5, jitter=1.0, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.4, grey=0.2
        ),
    ),
    # Chen, Fan, Girshick, He 2020.
    "moco-v2": (
        Augmentation(
            area=(0.2, 1.0), flip=0.5, jitter=0.8, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1,
            grey=0.2, blur=0.5,
        ),
    ),
    # Grill et al. 2020, table 6: the two views differ in blur and solarisation.
    "byol": (attrs.evolve(_BYOL, blur=1.0), attrs.evolve(_BYOL, blur=0.1, solarise=0.2)),
    # Caron et al. 2020: SimCLR's at full strength; the areas are those of each crop.
    "swav": (_simclr(strength=1.0, blur=0.5),),
    # Of the image a grid of patches is cut. CPC (van den Oord et al. 2018, section 3.3) takes the colour from it, for
    # neighbours are recognised by their colour first; half of the time here, since evaluation is in colour.
    "cpc": (Augmentation(area=(0.3, 1.0), flip=0.5, grey=0.5),),
    # CPC v2 changes each patch by itself (Hénaff et al. 2020, section 3.2, names AutoAugment's kinds of change; these
    # are ours of the same kinds).
    "cpc-v2": (Augmentation(area=(0.3, 1.0), flip=0.5),),
    "cpc-patches": (
        Augmentation(
            rotate=10.0, shear=10.0, flip=0.5, jitter=0.8, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1,
            grey=0.25,
        ),
    ),
    # Bardes et al. 2022, appendix C.
    "vicreg": (attrs.evolve(_BYOL, blur=0.5, solarise=0.1),),
    # Handwriting and drawings, where colour says nothing and a mirror image is another sign.
    "strokes": (
        Augmentation(rotate=40.0, shear=10.0, shift=0.15, zoom=(0.7, 1.3), jitter=0.8, brightness=0.4, contrast=0.4),
    ),
}  # fmt: skip
"""One augmentation for every view, or one for each, in turn."""
