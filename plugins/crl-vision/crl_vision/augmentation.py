"""Augmentations of a whole batch at once, on its device, every image with its own parameters.

Images are float `[N, C, H, W]` in [0, 1]; a parameter is a tensor `[N]`. What a transform does to
one image is what torchvision's transform of that name does to it, up to rounding.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

GREY = (0.2989, 0.587, 0.114)  # ITU-R 601, as torchvision has it


def uniform(low: float, high: float, count: int, like: Tensor) -> Tensor:
    return torch.empty(count, device=like.device).uniform_(low, high)


def happens(probability: float, count: int, like: Tensor) -> Tensor:
    """Bool `[N]`, True with this probability."""
    return torch.rand(count, device=like.device) < probability


# -- geometry: one linear map per axis and image ---------------------------------------------------


def crop_boxes(
    count: int, height: int, width: int, area: tuple[float, float], ratio: tuple[float, float], like: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random top, left, height and width of crops, each `[N]`, in pixels.

    Of ten random areas and aspect ratios the first that fits is taken; if none does, the largest
    box in the middle that keeps to `ratio`.
    """
    tries = (count, 10)
    pixels = torch.empty(tries, device=like.device).uniform_(*area) * (height * width)
    aspect = torch.empty(tries, device=like.device).uniform_(math.log(ratio[0]), math.log(ratio[1])).exp()
    w, h = (pixels * aspect).sqrt().round(), (pixels / aspect).sqrt().round()
    fits = (w >= 1) & (w <= width) & (h >= 1) & (h <= height)
    first = fits.float().argmax(1, keepdim=True)
    some = fits.any(1)
    most_h = min(height, max(1, round(width / ratio[0])))
    most_w = min(width, max(1, round(height * ratio[1])))
    h = torch.where(some, h.gather(1, first).squeeze(1), float(most_h))
    w = torch.where(some, w.gather(1, first).squeeze(1), float(most_w))
    top = (torch.rand(count, device=like.device) * (height - h + 1)).floor()
    left = (torch.rand(count, device=like.device) * (width - w + 1)).floor()
    top = torch.where(some, top, float((height - most_h) // 2))
    left = torch.where(some, left, float((width - most_w) // 2))
    return top, left, h, w


def whole_boxes(count: int, height: int, width: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Boxes, as of `crop_boxes`, that cut nothing off."""
    zero = torch.zeros(count, device=like.device)
    return zero, zero, zero + height, zero + width


def resampling(start: Tensor, length: Tensor, size: int, full: int) -> Tensor:
    """`[N, size, full]`: the linear map that cuts `start … start + length` out of `full` and resizes it to `size`.

    Bilinear with antialiasing: a triangle as wide as the larger of the two pixels.
    """
    scale = (length / size).view(-1, 1, 1)
    centre = scale * (torch.arange(size, device=start.device).view(1, -1, 1) + 0.5)
    pixel = torch.arange(full, device=start.device).view(1, 1, -1) - start.view(-1, 1, 1)
    weights = (1 - (pixel + 0.5 - centre).abs() / scale.clamp(min=1)).clamp_(min=0)
    weights *= (pixel >= 0) & (pixel < length.view(-1, 1, 1))
    return weights / weights.sum(-1, keepdim=True)


def map_axes(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """`rows @ image @ columns.T` for every image and channel: `[N, C, H, W]` to `[N, C, H', W']`."""
    n, c, h, w = images.shape
    to_h, to_w = rows.shape[1], columns.shape[1]
    # Channels beside the axis that stays put: two large products instead of many small ones.
    wide = images.transpose(1, 2).reshape(n, h * c, w) @ columns.mT
    tall = rows @ wide.view(n, h, c * to_w)
    return tall.view(n, to_h, c, to_w).transpose(1, 2)


def crop_resize(
    images: Tensor, box: tuple[Tensor, Tensor, Tensor, Tensor], size: tuple[int, int], flip: Tensor
) -> Tensor:
    """Crops each image to its box, resizes it to `size` (height, width), and mirrors it where `flip` says so."""
    top, left, height, width = box
    rows = resampling(top, height, size[0], images.shape[2])
    columns = resampling(left, width, size[1], images.shape[3])
    columns = choose(flip.view(-1, 1, 1), columns.flip(1), columns)
    return map_axes(images, rows, columns)


def cut(images: Tensor, top: Tensor, left: Tensor, size: int) -> Tensor:
    """Squares of `size` pixels with these corners `[N, L]` out of each image: `[N, L, C, size, size]`."""
    side = torch.arange(size, device=images.device)
    rows, columns = (start.unsqueeze(-1) + side for start in (top, left))
    image = torch.arange(len(images), device=images.device).view(-1, 1, 1, 1)
    found = images[image, :, rows.unsqueeze(-1), columns.unsqueeze(-2)]
    return found.permute(0, 1, 4, 2, 3).contiguous()


def blur(images: Tensor, sigma: Tensor, radius: int) -> Tensor:
    """Gaussian blur with mirrored borders; `sigma` 0 leaves an image as it is."""
    rows, columns = (_gaussian(sigma, radius, size) for size in images.shape[2:])
    return map_axes(images, rows, columns)


def _gaussian(sigma: Tensor, radius: int, size: int) -> Tensor:
    """`[N, size, size]`: the blur as a linear map of one axis."""
    radius = min(radius, size - 1)
    offset = torch.arange(-radius, radius + 1, device=sigma.device)
    kernel = torch.exp(-0.5 * (offset / sigma.clamp(min=1e-4).unsqueeze(1)) ** 2)
    kernel = kernel / kernel.sum(1, keepdim=True)
    position = torch.arange(size, device=sigma.device).unsqueeze(1) + offset
    position = (size - 1) - ((size - 1) - position.abs()).abs()  # mirrored at both ends
    matrix = torch.zeros(len(sigma), size, size, device=sigma.device)
    index = position.unsqueeze(0).expand(len(sigma), -1, -1)
    return matrix.scatter_add_(2, index, kernel.unsqueeze(1).expand_as(index).contiguous())


def move(images: Tensor, angle: Tensor, shift: Tensor, zoom: Tensor, shear: Tensor) -> Tensor:
    """Rotates by `angle` degrees, shears by `shear` degrees, zooms, and shifts by `shift` `[N, 2]` of the size.

    What comes in from outside is black.
    """
    if not len(images):
        return images
    turn, skew = torch.deg2rad(angle), torch.deg2rad(shear).tan()
    cos, sin = turn.cos() / zoom, turn.sin() / zoom
    # The grid runs from output to input, and measures both axes from -1 to 1, whatever the image's shape.
    tall = images.shape[2] / images.shape[3]
    matrix = torch.stack(
        [
            torch.stack([cos, (sin + cos * skew) * tall, -2 * shift[:, 0]], 1),
            torch.stack([-sin / tall, cos - sin * skew, -2 * shift[:, 1]], 1),
        ],
        1,
    )
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


# -- colour ----------------------------------------------------------------------------------------


def grey(images: Tensor) -> Tensor:
    """Luminance, `[N, 1, H, W]`."""
    if images.shape[1] == 1:
        return images
    r, g, b = images.split(1, dim=1)
    luminance: Tensor = (r * GREY[0]).add_(g, alpha=GREY[1]).add_(b, alpha=GREY[2])
    return luminance


def shift_hue(images: Tensor, turn: Tensor) -> Tensor:
    """Turns the hue of each image by a fraction of the circle."""
    r, g, b = images.unbind(1)
    value = torch.maximum(torch.maximum(r, g), b)
    chroma = value - torch.minimum(torch.minimum(r, g), b)
    scale = chroma.clamp(min=1e-8).reciprocal_().div_(6)
    hue = choose(value == g, (b - r).mul_(scale).add_(2 / 6), (r - g).mul_(scale).add_(4 / 6))
    hue = choose(value == r, (g - b).mul_(scale), hue).add_(turn.view(-1, 1, 1))
    turned = torch.empty_like(images)
    # Each channel is the same tent over the circle of hues, a third of it further on.
    for channel, offset in enumerate((5 / 6, 3 / 6, 1 / 6)):
        k = hue + offset
        tent = k.sub_(k.floor()).mul_(6).sub_(2).abs_().neg_().add_(2).clamp_(0, 1)
        torch.sub(value, tent.mul_(chroma), out=turned[:, channel])
    return turned


class Order(NamedTuple):
    """In which order each image's colours are changed.

    Attributes:
        slots: `[N, 4]`, what comes first, second, …: 0 brightness, 1 contrast, 2 saturation, 3 hue.
        hue: which images' hue comes first, second, …
    """

    slots: Tensor
    hue: list[Tensor]


def draw_order(count: int, like: Tensor) -> Order:
    """A random order for each image."""
    # The three blends keep a random order around the hue, whose place is dealt out evenly: so the
    # sizes of the four groups are known beforehand, and nothing waits for the device.
    blends = torch.rand(count, 3, device=like.device).argsort(1)
    dealt = torch.randperm(count, device=like.device)
    hue_slot = torch.empty_like(dealt)
    begin = int(torch.randint(4, ()))  # else the image left over from four by four would always start with hue
    hue_slot[dealt] = (torch.arange(count, device=like.device) + begin) % 4
    slot, hue = torch.arange(4, device=like.device), hue_slot.unsqueeze(1)
    blend = blends.gather(1, (slot - (hue < slot).long()).clamp(max=2))
    return Order(torch.where(hue == slot, 3, blend), [dealt[(slot - begin) % 4 :: 4] for slot in range(4)])


def write_order(order: Order) -> Tensor:
    """Each image's order as a number, `[N]`, two bits for each of the four."""
    return (order.slots << torch.arange(0, 8, 2, device=order.slots.device)).sum(1)


def read_order(number: Tensor) -> Order:
    """The order that `write_order` has written."""
    slots = (number.unsqueeze(1) >> torch.arange(0, 8, 2, device=number.device)) & 3
    return Order(slots, [(slots[:, slot] == 3).nonzero().squeeze(1) for slot in range(4)])


def jitter(
    images: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor, hue: Tensor, order: Order | None = None
) -> Tensor:
    """Brightness, contrast, saturation and hue by these factors, in an order of its own for every image.

    A factor of 1 (for hue, a turn of 0) changes nothing. The order is random unless it is given.
    """
    slots, groups = draw_order(len(images), images) if order is None else order
    factors = torch.stack([brightness, contrast, saturation], 1)
    for which, group in zip(slots.unbind(1), groups, strict=True):
        images = _blend(images, which, factors)  # a new tensor, so the hue may be written into it
        if images.shape[1] == 3 and len(group):
            images.index_copy_(0, group, shift_hue(images[group], hue[group]))
    return images


def _blend(images: Tensor, which: Tensor, factors: Tensor) -> Tensor:
    """Image n blended with black (which = 0), its mean luminance (1) or its luminance (2); unchanged for 3."""
    factor = torch.where(which == 3, 1.0, factors.gather(1, which.clamp(max=2).unsqueeze(1)).squeeze(1))
    factor, which = factor.view(-1, 1, 1, 1), which.view(-1, 1, 1, 1)
    luminance = grey(images)
    other = luminance * (which == 2) + luminance.mean((2, 3), keepdim=True) * (which == 1)
    return torch.lerp(other.expand_as(images), images, factor).clamp_(0, 1)


def solarise(images: Tensor, where: Tensor) -> Tensor:
    """Inverts what is brighter than half, in the images that `where` `[N]` chooses."""
    return choose((images >= 0.5) & where.view(-1, 1, 1, 1), 1 - images, images)


def to_grey(images: Tensor, where: Tensor) -> Tensor:
    """Takes the colour out of the images that `where` `[N]` chooses."""
    return choose(where.view(-1, 1, 1, 1), grey(images).expand_as(images), images)


def choose(where: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """`torch.where`, which on the CPU is several times slower than a blend with weights 0 and 1."""
    return torch.lerp(other, one, where.to(one.dtype))
