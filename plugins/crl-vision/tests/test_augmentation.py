from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from crl_vision import augmentation as batch
from crl_vision.samplers.augmented import augment
from crl_vision.samplers.settings import SETTINGS, Augmentation
from torch import Tensor
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms import functional as single

SHAPES = [(3, 32, 32), (1, 16, 16), (3, 20, 31), (1, 37, 13), (3, 5, 64)]
# Pixels are of order 1 in float32, and a pixel is a sum of some dozens of products.
CLOSE = dict(rtol=0, atol=2e-5)
EVERY = [pytest.param(how, id=f"{name} {i}") for name, found in SETTINGS.items() for i, how in enumerate(found)]


def each(images: Tensor, transform: Callable[[int, Tensor], Tensor]) -> Tensor:
    """torchvision's transform, one image after the other."""
    return torch.stack([transform(i, image) for i, image in enumerate(images)])


def apart(one: Tensor, other: Tensor) -> Tensor:
    """The distance of every image of one batch from every image of another."""
    return torch.cdist(one.flatten(1), other.flatten(1), compute_mode="donot_use_mm_for_euclid_dist")


def full(count: int, value: float) -> Tensor:
    return torch.full((count,), value)


# -- the same as torchvision, image by image ---------------------------------------------------------------


@pytest.mark.parametrize("shape", [*SHAPES, (3, 1, 1), (1, 1, 9), (3, 2, 2)])
@pytest.mark.parametrize("size", [(32, 32), (7, 19), (1, 1), (48, 40)])
def test_crops_are_torchvisions_resized_crop_with_a_box_for_each_image(
    shape: tuple[int, int, int], size: tuple[int, int]
) -> None:
    images = torch.rand(12, *shape)
    box = batch.crop_boxes(12, *shape[1:], (0.05, 1.0), (0.5, 2.0), images)
    flip = torch.arange(12) % 2 == 0

    def one(i: int, image: Tensor) -> Tensor:
        cut = single.resized_crop(image, *(int(side[i]) for side in box), list(size), antialias=True)
        return single.hflip(cut) if flip[i] else cut

    torch.testing.assert_close(batch.crop_resize(images, box, size, flip), each(images, one), **CLOSE)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("place", "adjust", "low", "high"),
    [
        (0, single.adjust_brightness, 0.0, 2.0),
        (1, single.adjust_contrast, 0.0, 2.0),
        (2, single.adjust_saturation, 0.0, 2.0),
        (3, single.adjust_hue, -0.5, 0.5),
    ],
    ids=["brightness", "contrast", "saturation", "hue"],
)
def test_jitter_is_torchvisions_adjustment_with_a_factor_for_each_image(
    shape: tuple[int, int, int], place: int, adjust: Callable[[Tensor, float], Tensor], low: float, high: float
) -> None:
    images = torch.rand(13, *shape)
    factors = [full(13, 1.0), full(13, 1.0), full(13, 1.0), full(13, 0.0)]
    factors[place] = torch.linspace(low, high, 13)
    expected = each(images, lambda i, image: adjust(image, float(factors[place][i])))
    torch.testing.assert_close(batch.jitter(images, *factors), expected, **CLOSE)


def test_hue_of_pure_grey_black_and_white_pixels_is_torchvisions() -> None:
    corners = torch.tensor(list(itertools.product([0.0, 0.5, 1.0], repeat=3))).T.view(1, 3, 3, 9)
    for turn in (-0.5, -0.1, 0.0, 1 / 3, 0.5):
        torch.testing.assert_close(
            batch.shift_hue(corners, full(1, turn)), single.adjust_hue(corners, turn), rtol=0, atol=1e-5
        )


@pytest.mark.parametrize("shape", SHAPES)
def test_blur_is_torchvisions_with_a_sigma_for_each_image(shape: tuple[int, int, int]) -> None:
    images = torch.rand(6, *shape)
    sigma = torch.tensor([0.1, 0.3, 0.7, 1.0, 1.5, 2.0])
    for radius in (1, 2, 4):
        expected = each(images, lambda i, image, r=radius: single.gaussian_blur(image, 2 * r + 1, float(sigma[i])))
        torch.testing.assert_close(batch.blur(images, sigma, radius), expected, **CLOSE)


def test_blur_with_sigma_0_and_of_a_single_pixel_changes_nothing() -> None:
    images = torch.rand(3, 3, 8, 9)
    torch.testing.assert_close(batch.blur(images, torch.zeros(3), 4), images)
    pixel = torch.rand(2, 3, 1, 1)
    torch.testing.assert_close(batch.blur(pixel, full(2, 1.5), 3), pixel)


@pytest.mark.parametrize("shape", SHAPES)
def test_grey_and_solarised_are_torchvisions_where_chosen_and_the_image_elsewhere(shape: tuple[int, int, int]) -> None:
    images = torch.rand(6, *shape)
    images[0, 0, 0, 0] = 0.5  # solarised from the threshold on
    where = torch.tensor([True, False, True, False, False, True])
    grey = each(images, lambda i, image: single.rgb_to_grayscale(image, shape[0]) if where[i] else image)
    torch.testing.assert_close(batch.to_grey(images, where), grey, rtol=0, atol=1e-6)
    solar = each(images, lambda i, image: single.solarize(image, 0.5) if where[i] else image)
    assert torch.equal(batch.solarise(images, where), solar)
    assert torch.equal(batch.to_grey(images, where)[1], images[1])


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 16, 16), (3, 20, 32), (1, 37, 13)])
@pytest.mark.parametrize(
    ("angle", "across", "down", "zoom", "shear"),
    [
        (33.0, 0, 0, 1.0, 0.0),
        (-90.0, 0, 0, 1.0, 0.0),
        (25.0, 0, 0, 0.7, 0.0),
        (0.0, 3, 0, 1.0, 0.0),
        (0.0, 0, -4, 1.0, 0.0),
        (0.0, 0, 0, 1.3, 0.0),
        (0.0, 0, 0, 1.0, 12.0),
        (0.0, 0, 0, 1.0, -30.0),
    ],
)
def test_moves_are_torchvisions_affine_maps(  # the order of shear and rotation, when both act, is our own
    shape: tuple[int, int, int], angle: float, across: int, down: int, zoom: float, shear: float
) -> None:
    images = torch.rand(4, *shape)
    shift = torch.tensor([across / shape[2], down / shape[1]]).expand(4, 2)
    found = batch.move(images, full(4, angle), shift, full(4, zoom), full(4, shear))
    expected = each(
        images,
        lambda _, image: single.affine(
            image, angle, [across, down], zoom, [shear, 0.0], interpolation=InterpolationMode.BILINEAR
        ),
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-4)


def test_the_whole_way_is_torchvisions_functions_in_the_papers_order() -> None:
    always = Augmentation(flip=1.0, grey=1.0, blur=1.0, sigma=(0.8, 0.8), solarise=1.0)
    images = torch.rand(5, 3, 40, 40)

    def one(_: int, image: Tensor) -> Tensor:
        small = single.hflip(single.resize(image, [32, 32], antialias=True))
        return single.solarize(single.gaussian_blur(single.rgb_to_grayscale(small, 3), 3, 0.8), 0.5)

    # A pixel within rounding of the threshold may fall on either side of it.
    wrong = (augment(images, always, 32) - each(images, one)).abs() > 1e-5
    assert wrong.float().mean() < 1e-3


# -- what is drawn -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(32, 32), (96, 40), (20, 80)])
@pytest.mark.parametrize("area", [(0.08, 1.0), (0.2, 1.0)])
def test_crop_boxes_are_distributed_as_torchvisions(height: int, width: int, area: tuple[float, float]) -> None:
    ours = torch.stack(batch.crop_boxes(20_000, height, width, area, (3 / 4, 4 / 3), torch.zeros(()))).T
    blank = torch.zeros(1, height, width)
    draw = RandomResizedCrop.get_params
    theirs = torch.tensor([draw(blank, list(area), [3 / 4, 4 / 3]) for _ in range(5_000)], dtype=torch.float32)

    def figures(boxes: Tensor) -> Tensor:
        top, left, h, w = boxes.T
        shape = h * w / (height * width), (w / h).log()
        return torch.stack([*shape, *(part**2 for part in shape), top / height, left / width, (top + h) / height])

    one, other = figures(ours), figures(theirs)
    error = (one.var(1) / one.shape[1] + other.var(1) / other.shape[1]).sqrt()
    assert ((one.mean(1) - other.mean(1)).abs() < 4.5 * error + 1e-6).all()
    for boxes in (ours, theirs):
        top, left, h, w = boxes.T
        assert (torch.stack([top, left, height - top - h, width - left - w]) >= 0).all()
        assert (torch.stack([h, w]) >= 1).all()


def test_boxes_that_never_fit_are_the_largest_in_the_middle_as_torchvisions() -> None:
    for height, width, ratio in [(10, 60, (0.75, 1.5)), (60, 10, (0.75, 1.5)), (1, 30, (0.1, 0.2))]:
        (top, *_), (left, *_), (h, *_), (w, *_) = (
            side.tolist() for side in batch.crop_boxes(3, height, width, (1.0, 1.0), ratio, torch.zeros(()))
        )
        if ratio[0] > 0.5:
            expected = RandomResizedCrop.get_params(torch.zeros(1, height, width), [1.0, 1.0], list(ratio))
            assert (top, left, h, w) == expected
        assert h >= 1
        assert w >= 1


PERMUTATIONS = list(itertools.permutations(range(4)))
FACTORS = (1.8, 1.7, 2.0, 0.2)  # so strong that pixels are cut off at 1, and the order shows


def orders(images: Tensor, found: Tensor) -> list[int]:
    """Which order of the four operations, by number, made each of `found` from the same image."""
    adjust = (single.adjust_brightness, single.adjust_contrast, single.adjust_saturation, single.adjust_hue)
    made = []
    for permutation in PERMUTATIONS:
        image = images[0]
        for operation in permutation:
            image = adjust[operation](image, FACTORS[operation])
        made.append(image.flatten())
    distance = apart(found, torch.stack(made))
    nearest = distance.topk(2, largest=False)
    assert (nearest.values[:, 0] < 1e-4).all(), "each image is what one of the 24 orders makes of it"
    assert (nearest.values[:, 1] > 1e-3).all(), "and no other"
    return nearest.indices[:, 0].tolist()


def test_jitter_takes_its_four_operations_in_every_order_equally_often() -> None:
    count = 2_400
    images = torch.rand(1, 3, 4, 4).expand(count, -1, -1, -1)
    found = orders(images, batch.jitter(images, *(full(count, factor) for factor in FACTORS)))
    often = Counter(found)
    chi_squared = sum((often[order] - count / 24) ** 2 / (count / 24) for order in range(24))
    assert chi_squared < 52  # 23 degrees of freedom: one in two thousand
    for slot, operation in itertools.product(range(4), range(4)):
        share = sum(PERMUTATIONS[order][slot] == operation for order in found) / count
        assert abs(share - 1 / 4) < 4 * math.sqrt(3 / 16 / count)


def test_jitter_of_single_images_too_has_every_operation_in_every_place() -> None:
    images = torch.rand(1, 3, 4, 4)
    found = torch.cat([batch.jitter(images, *(full(1, factor) for factor in FACTORS)) for _ in range(400)])
    order = orders(images, found)
    for slot, operation in itertools.product(range(4), range(4)):
        share = sum(PERMUTATIONS[i][slot] == operation for i in order) / 400
        assert abs(share - 1 / 4) < 4 * math.sqrt(3 / 16 / 400)


@pytest.mark.parametrize(
    "settings",
    [
        dict(area=(0.1, 0.9)),
        dict(rotate=30.0),
        dict(shear=20.0),
        dict(shift=0.3),
        dict(zoom=(0.7, 1.3)),
        dict(brightness=0.5, jitter=1.0),
        dict(contrast=0.5, jitter=1.0),
        dict(saturation=0.5, jitter=1.0),
        dict(hue=0.3, jitter=1.0),
        dict(blur=1.0, sigma=(0.4, 2.0)),
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_every_image_of_a_batch_gets_parameters_of_its_own(settings: dict[str, Any]) -> None:
    views = augment(torch.rand(1, 3, 24, 24).expand(40, -1, -1, -1), Augmentation(**settings), 24)
    distance = apart(views, views) + 9 * torch.eye(40)
    assert distance.min() > 0, "no two alike"
    assert ((distance < 0.01).sum(1) < 8).all()


# -- edges -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", EVERY)
@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (5, 1, 1, 1), (4, 3, 7, 13), (3, 1, 9, 9), (0, 3, 8, 8)])
def test_views_are_whole_images_from_0_to_1(how: Augmentation, shape: tuple[int, int, int, int]) -> None:
    for images in (torch.rand(shape), torch.zeros(shape), torch.ones(shape), torch.full(shape, 0.3)):
        views = augment(images, how, 16)
        assert views.shape == (*shape[:2], 16, 16)
        assert views.dtype == torch.float32
        assert views.is_contiguous()
        assert ((views >= 0) & (views <= 1)).all()  # NaN is neither


@pytest.mark.parametrize("how", EVERY)
def test_the_source_is_not_written_over(how: Augmentation) -> None:
    images = torch.rand(8, 3, 16, 16)
    before = images.clone()
    augment(images, how, 16)
    assert torch.equal(images, before)


def test_whole_images_stay_as_they_are_unless_something_is_asked_for() -> None:
    images = torch.rand(4, 3, 20, 30)
    torch.testing.assert_close(augment(images, Augmentation(), (20, 30)), images)


@pytest.mark.parametrize("how", EVERY)
def test_the_seed_settles_everything(how: Augmentation) -> None:
    images = torch.rand(6, 3, 16, 16)
    views = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        views.append(augment(images, how, 16))
    assert torch.equal(views[0], views[1])
    assert not torch.equal(views[0], views[2])
