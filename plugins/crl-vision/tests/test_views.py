"""Multi-crop, patches, jigsaws, rotations and batches by class; parameters that are recorded, shared and replayed."""

from __future__ import annotations

import math
import tomllib
from typing import Any

import pytest
import torch
from crl_vision.encoders.conv_net import ConvNet
from crl_vision.encoders.patchwise import Patchwise
from crl_vision.samplers.augmented import Augmented
from crl_vision.samplers.jigsaw import Jigsaw
from crl_vision.samplers.leave_one_out import LeaveOneOut
from crl_vision.samplers.multi_crop import MultiCrop
from crl_vision.samplers.parameters import Drawn
from crl_vision.samplers.patches import Patches, mosaic
from crl_vision.samplers.rotated import Rotated
from crl_vision.samplers.settings import SETTINGS, Augmentation

import crl_core as crl
from crl_core import CrlError, View, assemble, describe, plain, to_toml


def items(count: int = 6, channels: int = 3, height: int = 16, width: int = 16) -> View:
    columns = {"instance": torch.arange(count) + 100, "label": torch.arange(count) % 3}
    return View(torch.randint(0, 256, (count, channels, height, width), dtype=torch.uint8), columns)


def places(height: int, width: int) -> View:
    """One image each of whose pixels tells its row (red), its column (green) and nothing (blue)."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    data = torch.stack([rows, columns, torch.zeros_like(rows)]).to(torch.uint8).unsqueeze(0)
    return View(data, {"instance": torch.arange(1)})


# -- recorded, replayed, shared ----------------------------------------------------------------------------


@pytest.mark.parametrize("settings", list(SETTINGS))
@pytest.mark.parametrize("count", [1, 7, 300])
def test_views_are_replayed_bit_by_bit_from_what_was_recorded(settings: str, count: int) -> None:
    batch = items(count, height=32, width=32)
    sampler = Augmented(settings, size=20, record=True)
    views = sampler(batch)
    state = torch.get_rng_state()
    again = sampler.replay(batch, views)
    assert torch.equal(state, torch.get_rng_state()), "a replay draws nothing"
    for name, view in views.items():
        assert torch.equal(view.data, again[name].data)
        assert {column for column in view.meta if column.startswith("drawn_")} >= {"drawn_flip"}
        assert all(len(column) == count for column in view.meta.values())


def test_recording_changes_nothing_of_what_is_drawn() -> None:
    batch, found = items(), []
    for record in (False, True):
        torch.manual_seed(3)
        found.append(Augmented("simclr", record=record)(batch))
    assert all(torch.equal(found[0][name].data, found[1][name].data) for name in "ab")
    assert set(found[0]["a"].meta) == {"instance", "label"}


def test_a_record_says_what_was_done() -> None:
    how = Augmentation(area=(0.2, 0.8), flip=0.5)
    sampler = Augmented([how], count=1, record=True)
    view = sampler(View(places(24, 24).data.expand(50, -1, -1, -1), {"instance": torch.arange(50)}))["a"]
    of = Drawn.read(view.meta).values
    red, green = (view.data[:, channel] * 255 for channel in (0, 1))
    # The mean of all rows, or columns, that a crop shows is its middle.
    torch.testing.assert_close(red.mean((1, 2)), of["top"] + (of["height"] - 1) / 2, rtol=0, atol=0.6)
    torch.testing.assert_close(green.mean((1, 2)), of["left"] + (of["width"] - 1) / 2, rtol=0, atol=0.6)
    assert torch.equal(green[:, 0, 0] > green[:, 0, -1], of["flip"])


def test_a_record_replays_on_other_images() -> None:
    sampler = Augmented("strokes", record=True)
    ours, other = items(5), items(5)
    views = sampler(ours)
    moved = sampler.replay(View(other.data.flip(0), other.meta), views)
    back = sampler.replay(ours, moved)
    assert torch.equal(back["a"].data, views["a"].data), "what is recorded is recorded again"
    assert not torch.equal(moved["a"].data, views["a"].data)


def test_a_record_travels_with_the_embeddings() -> None:
    """Whether two views were turned alike is a relation like any other."""
    pipeline = crl.Pipeline(
        Augmented("strokes", record=True), encoder=ConvNet(4, 2, 1), score=crl.Cosine(), loss=crl.InfoNCE(),
        positive="within('drawn_angle', 10) & ~same('row')".replace("'", '"'),
    )  # fmt: skip
    batch = items(24, channels=1)
    table = pipeline.embed(pipeline.sampler(batch))["query"]
    pairs = pipeline.contrasts[0].pairs({"query": table})
    assert pairs is not None
    angle = table.meta["drawn_angle"]
    near = (angle[:, None] - angle).abs() <= 10
    assert torch.equal(pairs.masks()[0], near & ~torch.eye(48, dtype=torch.bool))


@pytest.mark.parametrize("step", ["crop", "colour", "flip", "grey", "blur"])
def test_what_is_shared_is_the_same_for_all_views_and_nothing_else(step: str) -> None:
    from crl_vision.samplers.parameters import PARAMETERS

    views = Augmented("simclr", count=3, shared=[step], record=True)(items(40))
    first, *others = (Drawn.read(view.meta).values for view in views.values())
    for other in others:
        for name, value in first.items():
            assert torch.equal(value, other[name]) == (name in PARAMETERS[step]), name


def test_shared_colours_are_those_of_the_first_view() -> None:
    always = Augmentation(jitter=1.0, brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2)
    views = Augmented([always], shared=["colour"])(items(9))
    assert torch.equal(views["a"].data, views["b"].data), "in the same order too"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: Augmented(shared=["color"]), r"\bstep 'color'.*\bmove, crop\b.*'colour'"),
        (lambda: LeaveOneOut(kept=["crp"]), r"\bstep 'crp'.*'crop'"),
        (lambda: LeaveOneOut("strokes", kept=["crop"]), "'crop'"),
        (lambda: Augmented().replay(items(), Augmented()(items())), "record=True"),
        (lambda: _replayed(items(4), items(5)), r"\b5 images\b.*\b4\b"),
        (lambda: _replayed(items(5, height=8, width=8), items(5)), r"\brow\b.*\bimages\b.*\b8 × 8\b"),
    ],
)
def test_what_can_not_be_replayed_or_shared_is_told(call: Any, said: str) -> None:
    with pytest.raises(CrlError, match=said):
        call()


def _replayed(images: View, recorded: View) -> None:
    sampler = Augmented("simclr", record=True)
    sampler.replay(images, sampler(recorded))


def test_leave_one_out_keeps_one_step_in_each_view() -> None:
    sampler = LeaveOneOut("simclr", kept=["crop", "colour"])
    assert sampler.views == ("query", "all", "crop", "colour")
    columns = [{step: view.meta[step].tolist() for step in ("crop", "colour")} for view in sampler(items(1)).values()]
    assert columns == [
        {"crop": [0], "colour": [0]}, {"crop": [1], "colour": [1]}, {"crop": [0], "colour": [2]},
        {"crop": [3], "colour": [0]},
    ], "whose parameters these are"  # fmt: skip
    # Of an image whose pixels tell their place, the crop is seen whatever happens to its colours.
    only_crop = LeaveOneOut([Augmentation(area=(0.1, 0.6), flip=0.5)], kept=["crop"])
    batch = View(places(32, 32).data.expand(40, -1, -1, -1), {"instance": torch.arange(40)})
    views = {name: view.data * 255 for name, view in only_crop(batch).items()}
    middle = {name: data[:, 0].mean((1, 2)) for name, data in views.items()}
    torch.testing.assert_close(middle["crop"], middle["query"], rtol=0, atol=1e-3)
    assert ((middle["all"] - middle["query"]).abs() > 0.5).float().mean() > 0.7
    mirrored = (views["crop"][:, 1, 0, 0] > views["crop"][:, 1, 0, -1]) != (
        views["query"][:, 1, 0, 0] > views["query"][:, 1, 0, -1]
    )
    assert 0.2 < mirrored.float().mean() < 0.8, "and what it doesn't keep differs"


def test_making_a_sampler_draws_nothing() -> None:
    state = torch.get_rng_state()
    LeaveOneOut("simclr")
    MultiCrop()
    assert torch.equal(state, torch.get_rng_state())


# -- multi-crop --------------------------------------------------------------------------------------------


def test_crops_are_of_their_own_size_and_area() -> None:
    batch = View(places(64, 64).data.expand(60, -1, -1, -1), {"instance": torch.arange(60)})
    plain_crop = [Augmentation(ratio=(1.0, 1.0))]
    sampler = MultiCrop(
        plain_crop, size=48, small_size=20, large=2, small=3, large_area=(0.5, 1.0), small_area=(0.05, 0.2)
    )
    assert sampler.views == ("large-1", "large-2", "small-1", "small-2", "small-3")
    views = sampler(batch)
    for name, view in views.items():
        side, area = (48, (0.5, 1.0)) if "large" in name else (20, (0.05, 0.2))
        assert view.data.shape == (60, 3, side, side)
        assert torch.equal(view.meta["instance"], batch.meta["instance"])
        rows = view.data[:, 0] * 255
        shown = (rows.amax((1, 2)) - rows.amin((1, 2)) + 1) / 64  # of a side
        low, high = (math.sqrt(part) for part in area)
        assert (shown > low - 0.05).all()
        assert (shown < high + 0.05).all()


def test_small_crops_are_by_default_three_sevenths_of_the_large() -> None:
    for size, side in ((None, 7), (224, 96), (2, 1)):
        views = MultiCrop(size=size)(items())
        assert views["small-6"].data.shape[2:] == (side, side)
        assert views["large-2"].data.shape[2:] == ((size or 16), (size or 16))


def test_settings_of_several_views_go_on_in_turn() -> None:
    dark, bright = Augmentation(), Augmentation(solarise=1.0)
    white = View(torch.ones(3, 3, 16, 16), {"instance": torch.arange(3)})
    views = MultiCrop([dark, bright], large=1, small=4, large_area=(1.0, 1.0), small_area=(0.2, 0.2))(white)
    assert [float(view.data.mean().round()) for view in views.values()] == [1, 0, 1, 0, 1]


# -- patches, jigsaws, rotations -----------------------------------------------------------------------------


def test_a_grid_of_patches_overlaps_by_half_line_by_line() -> None:
    view = Patches()(places(64, 64))["image"]
    assert view.data.shape == (1, 49, 3, 16, 16)
    corners = (view.data[0, :, :2, 0, 0] * 255).round()
    steps = torch.arange(0, 49, 8.0)
    torch.testing.assert_close(corners, torch.cartesian_prod(steps, steps))
    last = view.data[0, -1] * 255
    torch.testing.assert_close(last[:2, -1, -1], torch.tensor([63.0, 63.0])), "the whole image is seen"
    assert Patches(size=256)(places(40, 60))["image"].data.shape == (1, 49, 3, 64, 64)


def test_patches_are_moved_at_random_and_stay_inside() -> None:
    batch = View(places(32, 32).data.expand(200, -1, -1, -1), {"instance": torch.arange(200)})
    sampler = Patches(jitter=2)
    corners = (sampler(batch)["image"].data[:, :, :2, 0, 0] * 255).round()
    still = (sampler.clean(batch).data[:, :, :2, 0, 0] * 255).round()
    off = corners - still
    assert set(off[:, 24].flatten().tolist()) == {-2, -1, 0, 1, 2}, "in the middle of the grid"
    assert (off[:, 0] >= 0).all()
    assert (off[:, -1] <= 0).all()
    assert len(set(map(tuple, off[:, 24].tolist()))) == 25


def test_each_patch_is_changed_by_itself() -> None:
    whole = View(torch.full((30, 1, 16, 16), 0.5), {"instance": torch.arange(30)})
    patches = Patches(each=[Augmentation(jitter=1.0, brightness=0.8)])(whole)["image"].data
    levels = patches.mean((2, 3, 4))
    assert (levels.std(1) > 0.1).all()
    together = Patches([Augmentation(jitter=1.0, brightness=0.8)])(whole)["image"].data.mean((2, 3, 4))
    assert (together.std(1) < 1e-6).all()
    assert together.std() > 0.1


@pytest.mark.parametrize(
    ("sampler", "said"),
    [
        (Patches(), r"\bimages\b.*\b16 × 20\b.*\bsize\b"),
        (Patches(size=16, patch=17), "no 7 × 7 patches of 17 pixels"),
        (Patches(size=3), "no 7 × 7 patches of 0 pixels"),
        (Jigsaw(size=2), r"\bcells\b.*\b0 pixels\b.*\bpatches\b.*\b1\b"),
        (Jigsaw(size=30, patch=11), r"\bcells\b.*\b10 pixels\b.*\bpatches\b.*\b11\b"),
        (Rotated(), "square images"),
    ],
)
def test_images_that_do_not_fit_are_told(sampler: Any, said: str) -> None:
    with pytest.raises(CrlError, match=said):
        sampler(items(height=16, width=20))


def test_a_jigsaw_holds_every_cell_once_and_tells_where_from() -> None:
    count = 400
    batch = View(places(75, 75).data.expand(count, -1, -1, -1), {"instance": torch.arange(count)})
    views = Jigsaw([Augmentation()])(batch)
    assert views["image"].data.shape == (count, 3, 75, 75)
    patches = views["patches"]
    assert patches.data.shape == (count, 9, 3, 21, 21)
    corners = (patches.data[:, :, :2, 0, 0] * 255).round().long()
    cell = corners[..., 0] // 25 * 3 + corners[..., 1] // 25
    assert torch.equal(cell.sort(1).values, torch.arange(9).expand(count, 9)), "a permutation"
    assert torch.equal((cell * 9 ** torch.arange(9)).sum(1), patches.meta["order"])
    within = corners % 25
    assert int(within.min()) == 0
    assert int(within.max()) == 4, "anywhere in its cell, and never beyond"
    share = torch.bincount(cell[:, 0], minlength=9) / count
    assert (share - 1 / 9).abs().max() < 4 * math.sqrt(8 / 81 / count), "every cell is first equally often"


def test_quarter_turns_are_counted_and_equally_frequent() -> None:
    count = 400
    image = torch.rand(1, 3, 9, 9)
    batch = View(image.expand(count, -1, -1, -1), {"instance": torch.arange(count)})
    views = Rotated([Augmentation()])(batch)
    torch.testing.assert_close(views["image"].data, batch.data)
    turn = views["turned"].meta["turn"]
    for quarter in range(4):
        expected = image.rot90(quarter, (2, 3)).expand(int((turn == quarter).sum()), -1, -1, -1)
        torch.testing.assert_close(views["turned"].data[turn == quarter], expected)
        assert abs(float((turn == quarter).float().mean()) - 0.25) < 4 * math.sqrt(3 / 16 / count)


SAMPLERS = [
    MultiCrop("simclr-small", small=2, small_area=(0.1, 0.3)),
    Patches("cpc", each="cpc-patches", grid=3, jitter=1),
    Jigsaw("moco-v2", size=18),
    Rotated("simclr", size=12),
    LeaveOneOut("simclr", kept=["crop"]),
    Augmented("byol", shared=["crop"], record=True),
]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: type(sampler).__name__)
def test_samplers_come_back_from_their_spec_and_draw_the_same(sampler: Any) -> None:
    pipeline = crl.Pipeline(sampler, branches={"q": crl.Branch(sampler.views[0], encoder=Patchwise(ConvNet(4, 1)))})
    written = to_toml(plain(describe(pipeline)))
    again = assemble(tomllib.loads(written))
    assert plain(describe(again)) == plain(describe(pipeline))
    batch, found = items(), []
    for each in (pipeline, again):
        torch.manual_seed(4)
        found.append(each.sampler(batch))
    assert all(torch.equal(found[0][name].data, found[1][name].data) for name in sampler.views)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: type(sampler).__name__)
def test_pictures_of_every_view_and_of_clean_items_are_bytes(sampler: Any) -> None:
    batch = items()
    for view in (*sampler(batch).values(), sampler.clean(batch)):
        shown = sampler.depict(view)
        assert shown.dtype == torch.uint8
        assert shown.dim() == 4
        assert shown.shape[::3] == (6, 3)


def test_a_mosaic_has_its_patches_line_by_line() -> None:
    patches = torch.arange(6.0).view(1, 6, 1, 1, 1).expand(1, 6, 1, 2, 2)
    found = mosaic(patches, 3)
    assert found.shape == (1, 1, 6, 9)
    assert torch.equal(found[0, 0, ::3, ::3], torch.arange(6.0).view(2, 3))


# -- batches by class --------------------------------------------------------------------------------------


def test_a_recipe_trains_on_batches_by_class() -> None:
    source = {"use": "core/by-column", "source": {"use": "vision/digits"}, "groups": 4}
    made = crl.recipe("sup-con", source=source, epochs=1, batch_size=64)
    fitted = crl.fit(made.pipeline, made.source, made.training, accelerator="cpu", devices=1, show=False)
    assert fitted.finished
