from __future__ import annotations

import colorsys
import math
import tomllib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from crl_vision.encoders.conv_net import ConvNet
from crl_vision.samplers.augmented import Augmented, augment
from crl_vision.samplers.settings import SETTINGS, Augmentation
from torch import Tensor
from torchvision.transforms import functional as single

import crl_core as crl
from crl_core import CrlError, SpecError, View, assemble, describe, plain, to_toml


def items(count: int = 6, channels: int = 3, height: int = 16, width: int = 16) -> View:
    columns = {"instance": torch.arange(count) + 100, "label": torch.arange(count) % 3}
    return View(torch.randint(0, 256, (count, channels, height, width), dtype=torch.uint8), columns)


# -- views -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", list(SETTINGS))
def test_two_views_of_an_image_differ_and_have_its_columns(settings: str) -> None:
    batch = items()
    sampler = Augmented(settings)
    views = sampler(batch)
    assert list(views) == list(sampler.views) == ["a", "b"]
    for i in range(len(batch)):
        assert not torch.equal(views["a"].data[i], views["b"].data[i])
    for view in views.values():
        assert view.data.shape == batch.data.shape
        assert view.data.dtype == torch.float32
        assert set(view.meta) == {"instance", "label"}
        assert all(torch.equal(view.meta[name], column) for name, column in batch.meta.items())


def test_views_are_called_by_the_alphabet_and_take_their_augmentations_in_turn() -> None:
    weak, strong = Augmentation(), Augmentation(solarise=1.0)
    sampler = Augmented([weak, strong, strong], count=3)
    assert sampler.views == ("a", "b", "c")
    batch = items()
    views = sampler(batch)
    torch.testing.assert_close(views["a"].data, batch.data / 255)
    torch.testing.assert_close(views["b"].data, views["c"].data)
    assert not torch.equal(views["a"].data, views["b"].data)
    assert len(Augmented(count=26)(items(2))) == 26
    assert Augmented("byol", count=3).augmentations == [*SETTINGS["byol"], SETTINGS["byol"][0]]


@pytest.mark.parametrize(("height", "width"), [(16, 16), (12, 20)])
def test_views_are_as_large_as_the_source_or_as_they_are_told(height: int, width: int) -> None:
    batch = items(height=height, width=width)
    assert Augmented("byol")(batch)["b"].data.shape == (6, 3, height, width)
    assert Augmented("byol")(batch)["b"].data.shape == Augmented("byol").clean(batch).data.shape
    assert Augmented("byol", size=9)(batch)["b"].data.shape == (6, 3, 9, 9)


def test_bytes_and_floats_of_any_width_give_the_same_views() -> None:
    batch = items()
    found = []
    # bfloat16 is off by up to a 256th before, and the jitter enlarges that.
    for data in (batch.data, batch.data / 255, batch.data.double() / 255, (batch.data / 255).bfloat16()):
        torch.manual_seed(0)
        found.append(Augmented("moco-v2")(View(data, batch.meta))["a"].data)
    torch.testing.assert_close(found[1], found[0])
    torch.testing.assert_close(found[2], found[0])
    torch.testing.assert_close(found[3], found[0], rtol=0, atol=0.03)
    assert {view.dtype for view in found} == {torch.float32}


def test_nothing_of_it_is_recorded_for_gradients() -> None:
    batch = View(torch.rand(4, 3, 8, 8, requires_grad=True), {"instance": torch.arange(4)})
    for settings in SETTINGS:
        sampler = Augmented(settings, size=6)
        assert not any(view.data.requires_grad for view in sampler(batch).values())
        assert not sampler.clean(batch).data.requires_grad


def test_pixels_keep_their_precision_under_autocast() -> None:
    batch = items()
    for settings in SETTINGS:
        torch.manual_seed(0)
        expected = Augmented(settings)(batch)["a"].data
        torch.manual_seed(0)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(Augmented(settings)(batch)["a"].data, expected)


def test_an_empty_batch_gives_empty_views() -> None:
    for settings in SETTINGS:
        views = Augmented(settings, size=8)(items(0))
        assert [view.data.shape for view in views.values()] == [(0, 3, 8, 8)] * 2
        assert Augmented(settings, size=8).clean(items(0)).data.shape == (0, 3, 8, 8)


# -- clean -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("height", "width", "size"), [(20, 40, 10), (40, 20, 10), (16, 16, 24), (15, 33, 15), (1, 1, 4)]
)
def test_clean_images_are_resized_and_cut_to_the_middle_without_anything_random(
    height: int, width: int, size: int
) -> None:
    batch = items(3, height=height, width=width)
    state = torch.get_rng_state()
    sampler = Augmented("simclr", size=size)
    clean = sampler.clean(batch)
    assert torch.equal(clean.data, sampler.clean(batch).data)
    assert torch.equal(state, torch.get_rng_state())
    assert clean.meta == batch.meta
    pixels = single.resize(batch.data / 255, [size], antialias=True)
    torch.testing.assert_close(clean.data, single.center_crop(pixels, [size, size]), rtol=0, atol=1e-6)
    assert ((clean.data >= 0) & (clean.data <= 1)).all()


def test_clean_images_without_a_size_are_the_source_from_0_to_1() -> None:
    batch = items(height=12, width=20)
    assert torch.equal(Augmented("simclr").clean(batch).data, batch.data / 255)


def test_pictures_for_a_report_are_bytes_in_colour() -> None:
    for channels in (1, 3):
        batch = items(channels=channels)
        pictures = Augmented().depict(batch)
        assert pictures.dtype == torch.uint8
        assert torch.equal(pictures, batch.data.expand(-1, 3, -1, -1).permute(0, 2, 3, 1))


# -- the published settings ----------------------------------------------------------------------------------


def figures(how: Augmentation) -> dict[str, Any]:
    return {name: getattr(how, name) for name in Augmentation.__annotations__}


PLAIN = figures(Augmentation())
CROP = dict(ratio=(3 / 4, 4 / 3), flip=0.5, jitter=0.8, grey=0.2, sigma=(0.1, 2.0))


def test_without_settings_nothing_is_augmented() -> None:
    assert {name for name, value in PLAIN.items() if value not in (0.0, (1.0, 1.0))} == {"ratio", "sigma"}


@pytest.mark.parametrize(
    ("name", "view", "paper"),
    [
        # Chen et al. 2020, appendix A: strength 1.
        ("simclr", 0, CROP | dict(area=(0.08, 1.0), brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, blur=0.5)),
        # Appendix B.9: strength .5, no blur.
        ("simclr-small", 0, CROP | dict(area=(0.08, 1.0), brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)),
        # Chen, Fan, Girshick, He 2020, and main_moco.py --aug-plus of its authors.
        ("moco-v2", 0, CROP | dict(area=(0.2, 1.0), brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, blur=0.5)),
        # Grill et al. 2020, table 6.
        ("byol", 0, CROP | dict(area=(0.08, 1.0), brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, blur=1.0)),
        (
            "byol",
            1,
            CROP
            | dict(
                area=(0.08, 1.0), brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, blur=0.1, solarise=0.2
            ),
        ),
    ],
)  # fmt: skip
def test_published_settings_have_the_figures_of_their_papers(name: str, view: int, paper: dict[str, Any]) -> None:
    assert figures(Augmented(name).augmentations[view]) == PLAIN | paper


def test_one_published_augmentation_serves_both_views_but_byols_differ() -> None:
    for name in ("simclr", "simclr-small", "moco-v2", "strokes"):
        one, other = Augmented(name).augmentations
        assert one == other
    one, other = Augmented("byol").augmentations
    assert {name for name, value in figures(one).items() if value != figures(other)[name]} == {"blur", "solarise"}


# -- what the figures mean -----------------------------------------------------------------------------------

MANY = 4_000


def shares(how: Augmentation, changed: Callable[[Tensor, Tensor], Tensor]) -> float:
    image = torch.rand(1, 3, 6, 6)
    return float(changed(augment(image.expand(MANY, -1, -1, -1), how, 6), image).float().mean())


def other(views: Tensor, image: Tensor) -> Tensor:
    return ((views - image).abs() > 1e-4).flatten(1).any(1)


@pytest.mark.parametrize(
    ("how", "changed", "probability"),
    [
        (Augmentation(flip=0.5), lambda views, image: ~other(views, image.flip(3)), 0.5),
        (Augmentation(flip=0.1), lambda views, image: ~other(views, image.flip(3)), 0.1),
        (Augmentation(grey=0.2), lambda views, image: (views.std(1) < 1e-5).flatten(1).all(1), 0.2),
        (Augmentation(solarise=0.2), lambda views, _: (views < 0.501).flatten(1).all(1), 0.2),
        (Augmentation(jitter=0.8, brightness=0.4), other, 0.8),
        (Augmentation(jitter=0.8, hue=0.2), other, 0.8),
        (Augmentation(blur=0.5, sigma=(0.5, 2.0)), other, 0.5),
        (Augmentation(blur=1.0, sigma=(0.5, 2.0)), other, 1.0),
        (Augmentation(brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2), other, 0.0),
        (Augmentation(sigma=(1.0, 2.0)), other, 0.0),
    ],
)
def test_things_happen_with_their_probability(
    how: Augmentation, changed: Callable[[Tensor, Tensor], Tensor], probability: float
) -> None:
    deviation = math.sqrt(probability * (1 - probability) / MANY)
    assert abs(shares(how, changed) - probability) <= 4 * deviation


def test_brightness_changes_by_a_factor_between_one_less_and_one_more() -> None:
    grey = torch.full((MANY, 1, 1, 1), 0.5)
    for strength in (0.4, 0.8):
        factor = augment(grey, Augmentation(jitter=1.0, brightness=strength), 1).flatten() / 0.5
        assert 1 - strength <= factor.min() < 1 - 0.99 * strength
        assert 1 + 0.99 * strength < factor.max() <= 1 + strength + 1e-6
        assert abs(factor.mean() - 1) < 4 * strength / math.sqrt(3 * MANY)
    assert augment(grey, Augmentation(jitter=1.0, brightness=1.5), 1).min() >= 0, "no negative factors"


def test_hue_turns_by_at_most_its_share_of_the_circle_either_way() -> None:
    red = torch.tensor([0.9, 0.1, 0.1]).view(1, 3, 1, 1).expand(500, -1, -1, -1)
    views = augment(red, Augmentation(jitter=1.0, hue=0.1), 1).view(500, 3)
    turns = torch.tensor([(colorsys.rgb_to_hsv(*pixel)[0] + 0.5) % 1 - 0.5 for pixel in views.tolist()])
    assert 0.095 < turns.max() < 0.1001
    assert -0.1001 < turns.min() < -0.095


# -- specs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sampler",
    [
        Augmented("byol", size=24),
        Augmented([Augmentation(area=(0.3, 0.9), flip=0.5, jitter=0.8, hue=0.1)], count=4),
        Augmented([Augmentation(rotate=10, sigma=(0, 1)), Augmentation(blur=1.0, zoom=(0.5, 2.0))]),
    ],
)
def test_samplers_come_back_from_their_spec(sampler: Augmented) -> None:
    pipeline = crl.Pipeline(sampler, encoder=ConvNet(4, 1), score=crl.Cosine(), loss=crl.InfoNCE())
    written = to_toml(plain(describe(pipeline)))
    again = assemble(tomllib.loads(written))
    found = again.sampler
    assert isinstance(found, Augmented)
    assert (found.settings, found.size, found.count) == (sampler.settings, sampler.size, sampler.count)
    assert found.augmentations == sampler.augmentations
    assert plain(describe(again)) == plain(describe(pipeline))


def assembled(settings: Any) -> crl.Pipeline:
    pipeline = crl.Pipeline(Augmented(), encoder=ConvNet(4, 1), score=crl.Cosine(), loss=crl.InfoNCE())
    data = plain(describe(pipeline))
    data["sampler"]["settings"] = settings
    return assemble(data)


# -- what can go wrong ---------------------------------------------------------------------------------------


def test_an_unknown_setting_is_told_with_the_nearest() -> None:
    with pytest.raises(CrlError, match=r"'simclr-smal'.*'simclr-small'"):
        Augmented("simclr-smal")
    with pytest.raises(SpecError, match=r"\bsampler\b.*'moco_v2'.*'moco-v2'"):
        assembled("moco_v2")


def test_wrong_figures_in_a_spec_are_told_with_their_place() -> None:
    with pytest.raises(SpecError, match=r"\bsampler\.settings\.1: flip\b.*\b0\b.*\b1\b.*\b2\.0\b"):
        assembled([{"flip": 0.5}, {"flip": 2.0}])
    with pytest.raises(SpecError, match=r"\bsampler\.settings\.0\b.*'flp'.*'flip'"):
        assembled([{"flp": 0.5}])
    with pytest.raises(SpecError, match=r"\bsampler\.settings\.0\.area\b.*\b2\b"):
        assembled([{"area": [0.1, 0.2, 0.3]}])


NAN = float("nan")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (dict(area=(1.2, 0.5)), r"\barea\b.*\b0\b.*\b1\b.*\(1\.2, 0\.5\)"),
        (dict(area=(0.5, 0.2)), r"\barea\b.*\(0\.5, 0\.2\)"),
        (dict(area=(0.0, 1.0)), r"\barea\b.*\(0\.0, 1\.0\)"),
        (dict(area=(0.5, 1.5)), r"\barea\b.*\(0\.5, 1\.5\)"),
        (dict(area=(NAN, 1.0)), r"\barea\b.*\(nan, 1\.0\)"),
        (dict(ratio=(0.0, 1.0)), r"\bratio\b.*\b0\b.*\(0\.0, 1\.0\)"),
        (dict(ratio=(2.0, 1.0)), r"\bratio\b.*\(2\.0, 1\.0\)"),
        (dict(flip=2.0), r"\bflip\b.*\b0\b.*\b1\b.*\b2\.0\b"),
        (dict(flip=-0.1), r"\bflip\b.*-0\.1\b"),
        (dict(jitter=1.1), r"\bjitter\b.*\b0\b.*\b1\b.*\b1\.1\b"),
        (dict(grey=NAN), r"\bgrey\b.*\bnan\b"),
        (dict(blur=5.0), r"\bblur\b.*\b5\.0\b"),
        (dict(solarise=-1.0), r"\bsolarise\b.*-1\.0\b"),
        (dict(sigma=(-1.0, 2.0)), r"\bsigma\b.*\b0\b.*\(-1\.0, 2\.0\)"),
        (dict(sigma=(2.0, 0.1)), r"\bsigma\b.*\(2\.0, 0\.1\)"),
        (dict(sigma=(1.0, float("inf"))), r"\bsigma\b.*\(1\.0, inf\)"),
        (dict(zoom=(0.0, 1.0)), r"\bzoom\b.*\b0\b.*\(0\.0, 1\.0\)"),
        (dict(zoom=(1.5, 1.0)), r"\bzoom\b.*\(1\.5, 1\.0\)"),
        (dict(brightness=-0.1), r"\bbrightness\b.*\b0\b.*-0\.1\b"),
        (dict(contrast=-0.1), r"\bcontrast\b.*\b0\b.*-0\.1\b"),
        (dict(saturation=NAN), r"\bsaturation\b.*\b0\b.*\bnan\b"),
        (dict(hue=0.6), r"\bhue\b.*\b0\b.*\b0\.5\b.*\b0\.6\b"),
        (dict(rotate=-5.0), r"\brotate\b.*\b0\b.*-5\.0\b"),
        (dict(shear=90.0), r"\bshear\b.*\b0\b.*\b89\b.*\b90\.0\b"),
        (dict(shift=-0.1), r"\bshift\b.*\b0\b.*-0\.1\b"),
    ],
)
def test_nonsense_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Augmentation(**wrong)


def test_bounds_themselves_are_no_nonsense() -> None:
    low = Augmentation(area=(1e-3, 1e-3), ratio=(1.0, 1.0), sigma=(0.0, 0.0), zoom=(0.1, 0.1), blur=1.0, jitter=1.0)
    high = Augmentation(area=(1.0, 1.0), flip=1.0, jitter=1.0, brightness=3.0, hue=0.5, shear=89.0, shift=1.0)
    for how in (low, high):
        views = augment(torch.rand(4, 3, 8, 8), how, 8)
        assert ((views >= 0) & (views <= 1)).all()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Augmented(count=0), r"\bcount\b.*\b1\b.*\b26\b.*\b0\b"),
        (lambda: Augmented(count=27), r"\bcount\b.*\b1\b.*\b26\b.*\b27\b"),
        (lambda: Augmented(size=0), r"\bsize\b.*\b1 pixel\b.*\b0\b"),
        (lambda: Augmented(size=-8), r"\bsize\b.*\b1\b.*-8\b"),
        (lambda: Augmented([]), r"\b0\b.*\b2 views\b"),
        (lambda: Augmented([Augmentation()] * 3), r"\b3\b.*\b2 views\b"),
    ],
)
def test_samplers_that_could_not_work_are_refused(make: Callable[[], Augmented], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (torch.rand(4, 2, 8, 8), r"images are \[N, 1 or 3, H, W\]; these are \[4, 2, 8, 8\]"),
        (torch.rand(4, 8, 8), r"these are \[4, 8, 8\]"),
        (torch.rand(4, 8, 8, 3), r"these are \[4, 8, 8, 3\]"),
        (torch.randint(0, 255, (4, 3, 8, 8)), r"\bbytes \(uint8\).*\b0\b.*\b1\b.*\btorch.int64\b"),
    ],
)
def test_what_is_no_image_is_refused(data: Tensor, said: str) -> None:
    batch = View(data, {"instance": torch.arange(4)})
    for call in (Augmented(), Augmented().clean, Augmented().depict):
        with pytest.raises(CrlError, match=said):
            call(batch)
