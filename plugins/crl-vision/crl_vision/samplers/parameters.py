"""What is drawn for every image before anything is done to it: to record, to share, and to do again.

A parameter is a column `[N]`; a step that an augmentation leaves out has none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import attrs
import torch
from torch import Tensor

from crl_core import CrlError, did_you_mean

from .. import augmentation as batch
from .settings import Augmentation

PARAMETERS = {
    "move": ("angle", "shear", "shift_x", "shift_y", "zoom"),
    "crop": ("top", "left", "height", "width"),
    "flip": ("flip",),
    "colour": ("brightness", "contrast", "saturation", "hue", "order"),
    "grey": ("grey",),
    "blur": ("sigma",),
    "solarise": ("solarise",),
}
"""The columns of each step."""
_PREFIX = "drawn_"


@attrs.frozen(eq=False)
class Drawn:
    """The parameters of a batch, `[N]` by name, and the order of its colour changes where it is at hand."""

    values: dict[str, Tensor]
    order: batch.Order | None = None

    def columns(self) -> dict[str, Tensor]:
        """As columns of metadata, each with the prefix `drawn_`."""
        return {_PREFIX + name: value for name, value in self.values.items()}

    @staticmethod
    def read(meta: Mapping[str, Tensor]) -> Drawn:
        """What `columns` has written.

        Raises:
            CrlError: there is nothing of it.
        """
        values = {name.removeprefix(_PREFIX): column for name, column in meta.items() if name.startswith(_PREFIX)}
        if "flip" not in values:  # which every view has
            raise CrlError(f"these views have no columns {_PREFIX}…, which say how they were made: use record=True")
        return Drawn(values)

    @staticmethod
    def joined(parts: Sequence[Drawn]) -> Drawn:
        return Drawn({name: torch.cat([part.values[name] for part in parts]) for name in parts[0].values})

    def split(self, size: int) -> list[Drawn]:
        """In parts of so many images."""
        parts = {name: value.split(max(1, size)) for name, value in self.values.items()}
        return [Drawn(dict(zip(parts, values, strict=True))) for values in zip(*parts.values(), strict=True)]

    def sharing(self, other: Drawn, names: Iterable[str]) -> Drawn:
        """With these parameters of another's instead of its own."""
        own = {name: value for name, value in self.values.items() if name not in names}
        theirs = {name: value for name, value in other.values.items() if name in names}
        return Drawn(own | theirs, other.order if "order" in names else self.order)

    def check(self, images: Tensor) -> None:
        """Whether these parameters can be used on these images.

        Raises:
            CrlError: they are for another number, or a crop lies outside.
        """
        count, (height, width) = len(self.values["flip"]), images.shape[2:]
        if count != len(images):
            raise CrlError(f"the record is of {count} images, and these are {len(images)}")
        if "top" in self.values and count:
            ends = torch.stack([self.values["top"] + self.values["height"], self.values["left"] + self.values["width"]])
            bottom, right = ends.amax(1).tolist()
            if bottom > height or right > width:
                raise CrlError(
                    f"a recorded crop reaches to row {bottom:g} and column {right:g}, and these images are "
                    f"{height} × {width}: replay on images of the size that was recorded"
                )


def columns_of(steps: Iterable[str]) -> frozenset[str]:
    """The parameters of these steps.

    Raises:
        CrlError: there is no such step.
    """
    for step in steps:
        if step not in PARAMETERS:
            raise CrlError(f"no step {step!r}; there are {', '.join(PARAMETERS)}.{did_you_mean(step, PARAMETERS)}")
    return frozenset(name for step in steps for name in PARAMETERS[step])


def draw(how: Augmentation, images: Tensor) -> Drawn:
    """Random parameters for images `[N, C, H, W]`, on their device."""
    count, _, height, width = images.shape
    values: dict[str, Tensor] = {}
    order = None
    if how.rotate or how.shear or how.shift or how.zoom != (1.0, 1.0):
        values["angle"] = batch.uniform(-how.rotate, how.rotate, count, images)
        values["shear"] = batch.uniform(-how.shear, how.shear, count, images)
        values["shift_x"], values["shift_y"] = (
            batch.uniform(-how.shift, how.shift, 2 * count, images).view(count, 2).unbind(1)
        )
        values["zoom"] = batch.uniform(math.log(how.zoom[0]), math.log(how.zoom[1]), count, images).exp()
    if how.area != (1.0, 1.0):
        boxes = batch.crop_boxes(count, height, width, how.area, how.ratio, images)
        values.update(zip(PARAMETERS["crop"], boxes, strict=True))
    values["flip"] = batch.happens(how.flip, count, images)
    if how.jitter:
        applies = batch.happens(how.jitter, count, images)
        values["hue"] = batch.uniform(-how.hue, how.hue, count, images) * applies
        for name in ("brightness", "contrast", "saturation"):
            strength = getattr(how, name)
            factor = batch.uniform(max(0.0, 1 - strength), 1 + strength, count, images)
            values[name] = torch.where(applies, factor, 1.0)
        order = batch.draw_order(count, images)
        values["order"] = batch.write_order(order)
    if how.grey:
        values["grey"] = batch.happens(how.grey, count, images)
    if how.blur:
        values["sigma"] = batch.uniform(*how.sigma, count, images) * batch.happens(how.blur, count, images)
    if how.solarise:
        values["solarise"] = batch.happens(how.solarise, count, images)
    return Drawn(values, order)


def apply(images: Tensor, drawn: Drawn, size: tuple[int, int]) -> Tensor:
    """What the parameters make of images `[N, C, H, W]` from 0 to 1: `[N, C, *size]`. Nothing is random."""
    count, _, height, width = images.shape
    of = drawn.values
    if "zoom" in of:
        shift = torch.stack([of["shift_x"], of["shift_y"]], 1)
        images = batch.move(images, of["angle"], shift, of["zoom"], of["shear"])
    box = batch.whole_boxes(count, height, width, images)
    if "top" in of:
        box = (of["top"], of["left"], of["height"], of["width"])
    images = batch.crop_resize(images, box, size, of["flip"])
    if "order" in of:
        order = drawn.order or batch.read_order(of["order"])
        images = batch.jitter(images, of["brightness"], of["contrast"], of["saturation"], of["hue"], order)
    if "grey" in of:
        images = batch.to_grey(images, of["grey"])
    if "sigma" in of:
        images = batch.blur(images, of["sigma"], radius=max(1, min(size) // 20))  # a kernel of a tenth of the image
    if "solarise" in of:
        images = batch.solarise(images, of["solarise"])
    return images.clamp(0, 1).contiguous()  # sums of weights are 1 up to rounding
