from __future__ import annotations

import hashlib
import io
import logging
import pickle
import random
import re
import runpy
import socket
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from crl_vision.encoders.conv_net import ConvNet
from crl_vision.samplers.augmented import Augmented
from crl_vision.sources.arrays import Arrays
from crl_vision.sources.digits import Digits
from crl_vision.sources.downloaded import CIFAR10, CIFAR100, STL10
from crl_vision.sources.folder import Files, Folder, read
from PIL import Image, features
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor
from torchvision import datasets

import crl_core as crl
from crl_core import CrlError, Items, Source


def noise(*shape: int) -> np.ndarray:
    return torch.randint(0, 256, shape, dtype=torch.uint8).numpy()


def fit(source: Source, channels: int = 3, workers: int = 0) -> crl.Fitted:
    """One short epoch of the smallest pipeline."""
    pipeline = crl.Pipeline(
        Augmented("simclr-small", size=8), encoder=ConvNet(4, 2, channels), score=crl.Cosine(), loss=crl.InfoNCE()
    )
    training = crl.Training(epochs=1, batch_size=4, schedule=crl.CosineDecay(), log_every=1, workers=workers)
    return crl.fit(pipeline, source, training, accelerator="cpu", devices=1, show=False)


def all_of(items: Items) -> crl.View:
    return items.__getitems__(list(range(len(items))))


# -- digits ------------------------------------------------------------------------------------------------


def test_digits_are_all_of_scikit_learns_dealt_to_training_and_testing_without_leak() -> None:
    source = Digits()
    train, clean, moved = (all_of(source.items(split)) for split in ("train", "clean", "moved"))
    assert [len(view) for view in (train, clean, moved)] == [1_437, 360, 1_800]
    for view in (train, clean, moved):
        assert view.data.dtype == torch.uint8
        assert view.data.shape[1:] == (1, 16, 16)
        assert torch.equal(view.meta["instance"], torch.arange(len(view)))
        assert set(view.meta["label"].tolist()) == set(range(10))
    # Every other pixel is near enough to one of the original 8×8 that all 1,797 stay different.
    pictures = [{image.numpy().tobytes() for image in view.data} for view in (train, clean)]
    assert [len(found) for found in pictures] == [1_437, 360]
    assert not pictures[0] & pictures[1]
    labels = torch.cat([train.meta["label"], clean.meta["label"]])
    assert torch.equal(labels.bincount(), torch.tensor(load_digits().target).bincount())


def test_digits_are_dealt_as_scikit_learn_deals_them() -> None:
    images, labels = load_digits(return_X_y=True)
    dealt = train_test_split(range(len(labels)), test_size=0.2, random_state=0, stratify=labels)
    for split, index in zip(("train", "clean"), dealt, strict=True):
        view = all_of(Digits().items(split))
        assert view.meta["label"].tolist() == labels[index].tolist()
        small = torch.tensor(images[index], dtype=torch.float32).view(-1, 1, 8, 8) / 16
        large = torch.nn.functional.interpolate(small, (16, 16), mode="bilinear")
        assert torch.equal(view.data, (large * 255).round().to(torch.uint8))


def test_moved_digits_are_the_clean_ones_five_times_each_the_same_every_time() -> None:
    source = Digits()
    clean, state = all_of(source.items("clean")), torch.get_rng_state()
    moved = all_of(source.items("moved"))
    assert torch.equal(moved.meta["label"], clean.meta["label"].repeat(5))
    assert torch.equal(torch.get_rng_state(), state), "the seed of a run is not touched"
    assert torch.equal(all_of(Digits().items("moved")).data, moved.data)
    copies = moved.data.view(5, 360, -1)
    for one in range(5):
        assert (copies[one] != clean.data.view(360, -1)).any(1).float().mean() > 0.99
        for other in range(one):
            assert (copies[one] != copies[other]).any(1).float().mean() > 0.99


@pytest.mark.parametrize("source", [Digits(), CIFAR10(), CIFAR100(), STL10(), Folder(".")])
def test_an_unknown_split_is_told_with_the_nearest(source: Source) -> None:
    with pytest.raises(CrlError, match=r"\bsplit 'trian'.*\btrain\b.*'train'"):
        source.items("trian")


# -- folders of images ---------------------------------------------------------------------------------------


def save(path: Path, pixels: np.ndarray | Image.Image | None = None, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = (
        pixels if isinstance(pixels, Image.Image) else Image.fromarray(noise(12, 12, 3) if pixels is None else pixels)
    )
    image.save(path, **options)
    return path


def names(items: Files) -> list[str]:
    return [file.relative_to(items.root).as_posix() for file in items.files]


def labels(items: Files) -> list[int]:
    assert items.label is not None
    return items.label.tolist()


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_folders_are_classes_and_some_images_are_set_aside_for_testing(tmp_path: Path) -> None:
    for kind in ("dog", "cat"):
        for i in range(20):
            save(tmp_path / kind / f"{i}.png")
    source = Folder(str(tmp_path), size=8)
    train, test = source.items("train"), source.items("test")
    assert (len(train), len(test)) == (36, 4)
    assert not set(train.files) & set(test.files)
    assert train.classes == test.classes == ["cat", "dog"]
    for items in (train, test):
        assert labels(items) == [["cat", "dog"].index(file.parent.name) for file in items.files]
        view = all_of(items)
        assert view.data.shape == (len(items), 3, 8, 8)
        assert view.data.dtype == torch.uint8
        assert torch.equal(view.meta["label"], items.label)
        assert torch.equal(view.meta["instance"], torch.arange(len(items)))
    again = Folder(str(tmp_path), size=8).items("test")
    assert again.files == test.files, "the same every time"
    save(tmp_path / "dog" / "new.png")
    assert set(Folder(str(tmp_path), size=8).items("test").files) <= {*test.files, tmp_path / "dog" / "new.png"}
    assert len(Folder(str(tmp_path), test=0.5).items("test")) == 20


def test_a_label_means_the_same_class_in_training_and_testing(tmp_path: Path) -> None:
    for split, kinds in (("train", "abd"), ("test", "bcd")):
        for kind in kinds:
            save(tmp_path / split / kind / "1.png")
    source = Folder(str(tmp_path))
    assert source.items("train").classes == source.items("test").classes == ["a", "b", "c", "d"]
    assert labels(source.items("train")) == [0, 1, 3]
    assert labels(source.items("test")) == [1, 2, 3]
    # Also where the split is ours, and a class has too few images to be in both.
    for i in range(12):
        save(tmp_path / "own" / f"{i:02}" / "1.png")
    own = Folder(str(tmp_path / "own"), test=0.5)
    for split in ("train", "test"):
        assert labels(own.items(split)) == [int(file.parent.name) for file in own.items(split).files]


def test_images_without_classes_have_no_label(tmp_path: Path) -> None:
    for i in range(10):
        save(tmp_path / f"{i}.png")
    items = Folder(str(tmp_path), size=8).items("train")
    assert items.label is None
    assert set(all_of(items).meta) == {"instance"}


@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("Train", "val"), ("training", "validation")])
def test_folders_of_the_splits_are_the_splits(tmp_path: Path, train: str, test: str) -> None:
    for split, count in ((train, 4), (test, 2)):
        for kind in ("x", "y"):
            for i in range(count):
                save(tmp_path / split / kind / f"{i}.png")
    source = Folder(str(tmp_path))
    assert names(source.items("train")) == [f"{kind}/{i}.png" for kind in "xy" for i in range(4)]
    assert names(source.items("test")) == [f"{kind}/{i}.png" for kind in "xy" for i in range(2)]


def test_a_folder_train_alone_holds_the_classes_and_beside_others_is_one(tmp_path: Path) -> None:
    for kind in ("x", "y"):
        for i in range(5):
            save(tmp_path / "alone" / "train" / kind / f"{i}.png")
    assert Folder(str(tmp_path / "alone")).items("train").classes == ["x", "y"]
    for kind in ("train", "plane"):
        for i in range(5):
            save(tmp_path / "traffic" / kind / f"{i}.png")
    assert Folder(str(tmp_path / "traffic")).items("train").classes == ["plane", "train"]


def test_nested_files_belong_to_the_outermost_folder_and_files_beside_the_classes_to_none(tmp_path: Path) -> None:
    for path in ("test/a/1.png", "train/a/2020/may/1.png", "train/a/2.JPG", "train/b/1.webp", "train/stray.bmp"):
        save(tmp_path / path)
    items = Folder(str(tmp_path), size=8).items("train")
    assert names(items) == ["a/2.JPG", "a/2020/may/1.png", "b/1.webp", "stray.bmp"]
    assert labels(items) == [0, 0, 1, -1]
    assert len(all_of(items)) == 4


def test_hidden_files_and_what_is_no_image_are_not_looked_at(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for path in ("a/1.png", "a/2.png", "b/1.png"):
        save(tmp_path / path)
    for path in ("a/.3.png", ".thumbnails/1.png", "a/.cache/1.png"):
        save(tmp_path / path)
    for path in ("a/notes.txt", "a/Thumbs.db", "b/table.h5", "b/film.mpg", "b/README", "page.pdf", "figure.eps"):
        (tmp_path / path).write_bytes(b"\0something")
    source = Folder(str(tmp_path), size=8, test=0.3)
    found = [*names(source.items("train")), *names(source.items("test"))]
    assert sorted(found) == ["a/1.png", "a/2.png", "b/1.png"]
    assert source.items("train").classes == ["a", "b"]
    all_of(source.items("train"))
    assert not warnings_of(caplog)


def test_links_are_followed_once_and_loops_end(tmp_path: Path) -> None:
    for i in range(4):
        save(tmp_path / "photos" / "a" / f"{i}.png")
        save(tmp_path / "elsewhere" / f"{i}.png")
    root = tmp_path / "photos"
    (root / "a" / "back").symlink_to(root, target_is_directory=True)
    (root / "a" / "self").symlink_to(root / "a" / "self")
    (root / "b").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (root / "c").symlink_to(root / "b", target_is_directory=True)
    source = Folder(str(root), test=0.2)
    found = names(source.items("train")) + names(source.items("test"))
    assert sorted(found) == [f"{kind}/{i}.png" for kind in "ab" for i in range(4)]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_image_is_left_out_and_named_and_training_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, workers: int
) -> None:
    for split, count in (("train", 8), ("test", 2)):
        for i in range(count):
            save(tmp_path / split / f"{i}.png")
    (tmp_path / "train" / "3.png").write_bytes(b"no image at all")
    fitted = fit(Folder(str(tmp_path), size=8), workers=workers)
    assert fitted.finished
    assert [line["step"] for line in fitted.metrics if "loss" in line] == [1, 2]
    said = "\n".join(warnings_of(caplog))
    assert re.search(r"3\.png\b.*\b1\b.*\bUnidentifiedImageError\b", said)


def test_broken_files_are_counted_once_and_their_rows_are_missing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for kind in ("a", "b"):
        for i in range(3):
            save(tmp_path / "train" / kind / f"{i}.jpg", noise(40, 40, 3))
    save(tmp_path / "test" / "a" / "0.png")
    cut = tmp_path / "train" / "a" / "1.jpg"
    cut.write_bytes(cut.read_bytes()[:-400])
    (tmp_path / "train" / "b" / "2.jpg").write_bytes(b"")
    (tmp_path / "train" / "b" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    items = Folder(str(tmp_path), size=16).items("train")
    for _ in range(2):
        view = all_of(items)
        assert view.data.shape == (4, 3, 16, 16)
        assert view.meta["instance"].tolist() == [0, 2, 3, 4]
        assert view.meta["label"].tolist() == [0, 0, 1, 1]
    said = warnings_of(caplog)
    assert len(said) == len(items.broken) == 3
    assert re.search(r"a/1\.jpg is left out \(1 so far\): OSError: .*truncated", said[0])
    assert re.search(r"b/2\.jpg is left out \(2 so far\): UnidentifiedImageError", said[1])
    assert re.search(r"b/gone\.png is left out \(3 so far\): FileNotFoundError", said[2])
    nothing = items.__getitems__([1, 5])
    assert nothing.data.shape == (0, 3, 16, 16)
    assert [len(column) for column in nothing.meta.values()] == [0, 0]


def test_a_folder_of_broken_images_alone_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for i in range(6):
        (tmp_path / f"{i}.png").write_bytes(b"nothing")
    with pytest.raises(CrlError, match=r"\bitems\b.*\blog\b"):
        fit(Folder(str(tmp_path)))
    assert any("0.png is left out" in text or "1.png is left out" in text for text in warnings_of(caplog))


@pytest.mark.parametrize(
    "kind", ["PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP", "PPM", "ICO", "TGA", "PCX", "SGI", "DDS", "AVIF", "QOI"]
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, about what it finds
def test_damaged_files_of_any_kind_are_left_out_and_stop_nothing(tmp_path: Path, kind: str) -> None:
    if kind in ("WEBP", "AVIF") and not features.check(kind.lower()):
        pytest.skip(f"this Pillow reads no {kind}")
    whole = io.BytesIO()
    Image.fromarray(noise(24, 30, 3)).save(whole, kind)
    draw = random.Random(kind)
    for i in range(60):
        data = bytearray(whole.getvalue())
        if i % 3 == 0:
            data = data[: draw.randrange(len(data))]
        else:
            for _ in range(draw.choice([1, 3, 30])):
                data[draw.randrange(min(len(data), draw.choice([60, 400, len(data)])))] = draw.randrange(256)
        (tmp_path / f"{i}.png").write_bytes(data)
    items = Files(tmp_path, sorted(tmp_path.iterdir()), set(), 8, 3)
    view = all_of(items)
    assert len(view) + len(items.broken) == 60
    assert view.data.shape[1:] == (3, 8, 8)
    assert items.broken, "some are beyond repair"


def one(tmp_path: Path, image: np.ndarray | Image.Image, size: int, channels: int = 3, **options: Any) -> Tensor:
    return read(save(tmp_path / options.pop("name", "1.png"), image, **options), size, channels)


def test_the_short_side_becomes_the_size_and_the_middle_is_kept(tmp_path: Path) -> None:
    stripes = np.zeros((10, 30, 3), np.uint8)
    stripes[:, :10, 0], stripes[:, 10:20, 1], stripes[:, 20:, 2] = 255, 255, 255
    assert torch.equal(
        one(tmp_path, stripes, 10), torch.tensor([0, 255, 0], dtype=torch.uint8).view(3, 1, 1).expand(3, 10, 10)
    )
    assert one(tmp_path, noise(7, 90, 3), 20).shape == (3, 20, 20)
    assert one(tmp_path, noise(1, 1, 3), 4).unique().numel() <= 3
    pixels = noise(9, 9, 3)
    assert torch.equal(one(tmp_path, pixels, 9), torch.from_numpy(pixels).permute(2, 0, 1)), "as large: as it is"


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    values = np.linspace(0, 65_535, 64).reshape(8, 8)
    expected = torch.from_numpy((values.astype(np.uint16) / 65_535 * 255).round()).to(torch.uint8)
    for channels in (1, 3):
        found = one(tmp_path, Image.fromarray(values.astype(np.uint16)), 8, channels)
        assert torch.equal(found, expected.expand(channels, 8, 8))
    dark = one(tmp_path, Image.fromarray(np.full((8, 8), 200, np.uint16)), 8)
    assert int(dark.max()) == 1, "dark, though 200 would be bright among bytes"


def test_floats_in_a_tiff_are_read_by_their_range_and_nan_is_refused(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    expected = torch.from_numpy((values * 255).round()).to(torch.uint8)
    for scale in (1, 255):
        found = one(tmp_path, Image.fromarray(values * np.float32(scale)), 8, name="1.tif")
        assert int((found[0].int() - expected.int()).abs().max()) <= 1
    values[0, 0] = np.nan
    with pytest.raises(ValueError, match=r"\bNaN\b"):
        one(tmp_path, Image.fromarray(values), 8, name="1.tif")


def test_transparency_becomes_white(tmp_path: Path) -> None:
    clear = noise(8, 8, 4)
    clear[..., 3] = 0
    half = np.zeros((8, 8, 4), np.uint8)
    half[..., 3] = 128
    assert torch.equal(one(tmp_path, clear, 8), torch.full((3, 8, 8), 255, dtype=torch.uint8))
    assert one(tmp_path, half, 8).unique().tolist() == [127]
    assert one(tmp_path, clear[..., [0, 3]], 8, channels=1).unique().tolist() == [255], "grey with transparency"
    palette = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).convert("P")
    found = one(tmp_path, palette, 8, transparency=5)
    assert found[:, 0, 5].tolist() == [255, 255, 255], "the transparent entry"
    assert found[:, 0, 6].tolist() == [6, 6, 6]


def test_palettes_grey_bits_and_cmyk_are_read_as_colour_and_as_grey(tmp_path: Path) -> None:
    colour = Image.fromarray(np.broadcast_to(np.array([200, 60, 20], np.uint8), (8, 8, 3)))
    luminance = round(0.299 * 200 + 0.587 * 60 + 0.114 * 20)
    for image, name, tolerance in [
        (colour, "1.png", 0),
        (colour.convert("P", palette=Image.Palette.ADAPTIVE), "1.gif", 0),
        (colour, "1.jpg", 4),
        (colour.convert("CMYK"), "1.jpeg", 6),
        (colour.convert("CMYK"), "1.tif", 3),
    ]:
        found = one(tmp_path, image, 8, name=name)
        assert (found.int() - torch.tensor([200, 60, 20]).view(3, 1, 1)).abs().max() <= tolerance, name
        grey = one(tmp_path, image, 8, channels=1, name=name)
        assert grey.shape == (1, 8, 8)
        assert (grey.int() - luminance).abs().max() <= tolerance + 1, name
    pixels = noise(8, 8)
    assert torch.equal(one(tmp_path, pixels, 8), torch.from_numpy(pixels).expand(3, 8, 8))
    bits = Image.fromarray(pixels > 127)
    assert torch.equal(one(tmp_path, bits, 8, channels=1)[0], torch.from_numpy(pixels > 127).to(torch.uint8) * 255)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["1.png", "1.jpg"])
def test_photographs_stand_upright(tmp_path: Path, orientation: int, name: str) -> None:
    upright = torch.zeros(2, 2, dtype=torch.uint8)
    upright[0] = torch.tensor([250, 170])
    upright[1] = torch.tensor([90, 10])
    upright = upright.repeat_interleave(16, 0).repeat_interleave(16, 1)
    # How the camera stored it, by EXIF's table: so that the orientation undoes it.
    stored = {
        1: upright, 2: upright.flip(1), 3: upright.rot90(2), 4: upright.flip(0),
        5: upright.T, 6: upright.rot90(1), 7: upright.rot90(2).T, 8: upright.rot90(-1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = one(tmp_path, Image.fromarray(stored.contiguous().numpy()), 32, channels=1, exif=exif, name=name)
    assert (found[0].int() - upright.int()).abs().float().mean() < 3


@pytest.mark.parametrize("side", [12, 20])
def test_a_decompression_bomb_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, side: int
) -> None:
    for i in range(4):
        save(tmp_path / "train" / f"{i}.png", noise(10, 10, 3))
        save(tmp_path / "test" / f"{i}.png", noise(10, 10, 3))
    save(tmp_path / "train" / "bomb.png", noise(side, side, 3))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow warns above it, and refuses twice as much
    view = all_of(Folder(str(tmp_path), size=8).items("train"))
    assert len(view) == 4
    (said,) = warnings_of(caplog)
    assert re.search(r"bomb\.png\b.*\b1\b.*\bDecompressionBomb", said)


def test_postscript_under_another_name_starts_no_program(tmp_path: Path) -> None:
    save(tmp_path / "1.eps")
    (tmp_path / "1.eps").rename(tmp_path / "1.png")
    with pytest.raises(OSError, match="identify image"):
        read(tmp_path / "1.png", 8, 3)


def test_images_are_read_once(tmp_path: Path) -> None:
    for i in range(4):
        save(tmp_path / f"{i}.png")
    items = Folder(str(tmp_path), size=8).items("train")
    first = all_of(items)
    for file in items.files:
        file.unlink()
    assert torch.equal(all_of(items).data, first.data)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda root: None, r"\bfolder\b.*\bphotos\b"),
        (lambda root: root.write_text("a file"), r"\bfolder\b.*\bphotos\b"),
        (lambda root: root.mkdir(), r"\bphotos is empty\b"),
        (lambda root: save(root / "1.png"), r"\b2\b.*\btrain\b.*\btest\b"),
        (lambda root: [save(root / "1.png").rename(root / "1.txt")], r"\bimages\b.*\bphotos\b.*\b1 other files\b"),
        (lambda root: [save(root / "train" / "1.png"), (root / "test").mkdir()], r"photos/test is empty"),
    ],
)  # fmt: skip
def test_folders_without_images_are_refused(tmp_path: Path, make: Callable[[Path], object], said: str) -> None:
    make(tmp_path / "photos")
    source = Folder(str(tmp_path / "photos"))
    for split in ("train", "test"):
        with pytest.raises(CrlError, match=said):
            source.items(split)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (dict(channels=4), "channels is 1 or 3, not 4"),
        (dict(size=0), r"\bsize\b.*\b1 pixel\b.*\b0\b"),
        (dict(test=0.0), r"\btest\b.*\b0\b.*\b1\b.*\b0\.0\b"),
        (dict(test=1.0), r"\btest\b.*\b0\b.*\b1\b.*\b1\.0\b"),
    ],
)
def test_folders_of_nonsense_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Folder(".", **options)


# -- arrays ------------------------------------------------------------------------------------------------


def packed(path: Path, **arrays: Any) -> Arrays:
    np.savez(path / "images.npz", **arrays)
    return Arrays(str(path / "images.npz"))


@pytest.mark.parametrize("shape", [(6, 8, 9), (6, 8, 9, 1), (6, 8, 9, 3)])
@pytest.mark.parametrize("kind", ["uint8", "float16", "float32", "float64"])
@pytest.mark.parametrize("label_shape", [(6,), (6, 1), None])
def test_arrays_are_read_in_every_layout(
    tmp_path: Path, shape: tuple[int, ...], kind: str, label_shape: tuple[int, ...] | None
) -> None:
    images = noise(*shape) if kind == "uint8" else torch.rand(shape).numpy().astype(kind)
    given = {} if label_shape is None else {"train_labels": np.arange(6, dtype=np.uint8).reshape(label_shape)}
    source = packed(tmp_path, train_images=images, test_images=images[:2], **given)
    assert source.splits == ("train", "test")
    view = all_of(source.items("train"))
    expected = torch.from_numpy(images.reshape(*shape, 1) if len(shape) == 3 else images).permute(0, 3, 1, 2)
    assert torch.equal(view.data, expected)
    assert view.meta["instance"].tolist() == list(range(6))
    if label_shape is None:
        assert "label" not in view.meta
    else:
        assert view.meta["label"].dtype == torch.int64
        assert view.meta["label"].tolist() == list(range(6))
    assert len(source.items("test")) == 2


def test_arrays_have_the_splits_that_are_there(tmp_path: Path) -> None:
    images = noise(4, 8, 8)
    assert packed(tmp_path, train_images=images).splits == ("train",)
    every = packed(tmp_path, test_images=images, val_images=images, train_images=images)
    assert every.splits == ("train", "val", "test")
    with pytest.raises(CrlError, match=r"\bsplit 'tset'.*\btrain, val, test\b.*'test'"):
        every.items("tset")


def test_wrong_names_are_told_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(CrlError, match=r"\btrain_images\b.*\btrain_image, labels\b.*'train_image'"):
        packed(tmp_path, train_image=noise(4, 8, 8), labels=np.arange(4))
    with pytest.raises(CrlError, match=r"\btrain_images\b.*\bnothing\b"):
        packed(tmp_path)


class Trap:
    """Unpickled, it leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def test_pickled_objects_are_refused_without_being_read(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    objects = np.array([Trap(mark)] * 4, dtype=object)
    with pytest.raises(CrlError, match=r"\btrain_images\b.*\bObject arrays\b"):
        packed(tmp_path, train_images=objects).items("train")
    with pytest.raises(CrlError, match=r"\btrain_labels\b.*\bObject arrays\b"):
        packed(tmp_path, train_images=noise(4, 8, 8), train_labels=objects).items("train")
    (tmp_path / "all.npz").write_bytes(pickle.dumps(Trap(mark)))
    with pytest.raises(CrlError, match=r"all\.npz is no \.npz file"):
        Arrays(str(tmp_path / "all.npz"))
    assert not mark.exists()
    pickle.loads((tmp_path / "all.npz").read_bytes())
    assert mark.exists(), "the trap works"


def test_files_that_are_something_else_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "images.npz"
    with pytest.raises(CrlError, match=r"\bimages\.npz\b"):
        Arrays(str(path))
    with pytest.raises(CrlError, match=re.escape(str(tmp_path))):
        Arrays(str(tmp_path))
    for data in (b"", b"words", b"PK\x03\x04"):
        path.write_bytes(data)
        with pytest.raises(CrlError, match=r"images\.npz is no \.npz file"):
            Arrays(str(path))
    np.save(tmp_path / "one.npy", noise(4, 8, 8))
    with pytest.raises(CrlError, match=r"\bnumpy\.savez\(path, train_images=…\)"):
        Arrays(str(tmp_path / "one.npy"))
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("train_images", "words")
    with pytest.raises(CrlError, match=r"\btrain_images\b"):
        Arrays(str(path)).items("train")


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_cut_and_damaged_files_are_refused(tmp_path: Path, write: Callable[..., None]) -> None:
    path = tmp_path / "images.npz"
    write(path, train_images=noise(20, 16, 16), train_labels=np.arange(20))
    whole = path.read_bytes()
    for length in (10, len(whole) // 2, len(whole) - 10):
        path.write_bytes(whole[:length])
        with pytest.raises(CrlError, match=r"images\.npz is no \.npz file"):
            Arrays(str(path))
    draw = random.Random(0)
    for _ in range(40):
        damaged = bytearray(whole)
        for _ in range(8):
            damaged[draw.randrange(len(damaged) - 100)] = draw.randrange(256)
        path.write_bytes(damaged)
        with pytest.raises(CrlError, match=r"images\.npz"):
            Arrays(str(path)).items("train")


IMAGES = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)


@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        (IMAGES.astype(np.float32), None, r"\btrain_images\b.*\b1\b.*\b255\b.*\bbytes\b"),
        (IMAGES / 127.5 - 1.001, None, r"\btrain_images\b.*\b0\b.*\b1\b"),
        (IMAGES.astype(np.int64), None, r"\btrain_images\b.*\bbytes \(uint8\).*\b0\b.*\b1\b.*\btorch\.int64\b"),
        (IMAGES.astype(np.uint16), None, "not torch.uint16"),
        (IMAGES > 9, None, "not torch.bool"),
        (np.array(["a", "b"]), None, r"\btrain_images\b"),
        (IMAGES[0], None, r"\btrain_images\b.*\[N, H, W\].*\[N, H, W, 1 or 3\].*\[8, 8\]"),
        (noise(4, 3, 8, 8), None, r"not \[4, 3, 8, 8\]"),
        (noise(4, 8, 8, 4), None, r"not \[4, 8, 8, 4\]"),
        (IMAGES[:0], None, "no items"),
        (IMAGES[:0].astype(np.float32), None, "no items"),
        (IMAGES, np.arange(3), r"\btrain_labels\b.*\b4 images\b.*\[3\].*\btorch\.int64\b"),
        (IMAGES, np.arange(8).reshape(4, 2), r"not \[4, 2\]"),
        (IMAGES, np.arange(4) / 2, r"not \[4\] of torch\.float64"),
        (IMAGES, np.array(list("abcd")), r"\btrain_labels\b"),
    ],
)
def test_arrays_of_something_else_are_refused(tmp_path: Path, images: Any, labels: Any, said: str) -> None:
    given = {} if labels is None else {"train_labels": labels}
    with pytest.raises(CrlError, match=said):
        packed(tmp_path, train_images=images, **given).items("train")


def test_images_with_nan_are_counted_and_skipped_in_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    images = torch.rand(8, 8, 8).numpy()
    images[3, 2, 2], images[6, 0, 0] = np.nan, np.inf
    source = packed(tmp_path, train_images=images, train_labels=np.arange(8) % 2)
    fitted = fit(source, channels=1)
    assert fitted.finished
    assert all(np.isfinite(line["loss"]) for line in fitted.metrics if "loss" in line)
    said = " ".join(warnings_of(caplog))
    assert "NaN" in said
    assert {3, 6} == {int(found) for found in re.findall(r"\d+", " ".join(re.findall(r"\[(.*?)\]", said)))}


def test_images_that_are_all_nan_are_refused(tmp_path: Path) -> None:
    source = packed(tmp_path, train_images=np.full((8, 8, 8), np.nan))
    with pytest.raises(CrlError, match=r"\bitems\b.*\blog\b"):
        fit(source, channels=1)


def test_images_without_labels_train(tmp_path: Path) -> None:
    assert fit(packed(tmp_path, train_images=noise(8, 8, 8, 3))).finished


PACK = Path(__file__).parents[3] / "benchmarks" / "cifar10_npz.py"


@pytest.mark.slow
@pytest.mark.skipif(not PACK.is_file(), reason="the plugin stands alone")
def test_the_real_cifar10_is_read_whole(tmp_path: Path, cifar10: Path) -> None:
    runpy.run_path(str(PACK))["main"](cifar10, tmp_path / "cifar10.npz")
    source = Arrays(str(tmp_path / "cifar10.npz"))
    for split, count in (("train", 50_000), ("test", 10_000)):
        items = source.items(split)
        assert items.data.shape == (count, 3, 32, 32)
        assert items.columns["label"].bincount().tolist() == [count // 10] * 10
    # The means of the channels, as everybody normalises by them.
    mean = source.items("train").data.double().mean((0, 2, 3)) / 255
    torch.testing.assert_close(mean, torch.tensor([0.4914, 0.4822, 0.4465]).double(), rtol=0, atol=1e-3)


# -- torchvision's data sets ---------------------------------------------------------------------------------


@pytest.fixture
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network in a test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def checked(folder: Path, files: dict[str, bytes]) -> list[list[str]]:
    """Writes the files, and returns them with their checksums, as torchvision lists them."""
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return [[name, hashlib.md5(data).hexdigest()] for name, data in files.items()]


def batches_of_cifar(
    root: Path, monkeypatch: pytest.MonkeyPatch, kind: type, folder: str, parts: dict[str, int], labels: str, meta: str
) -> dict[str, tuple[np.ndarray, list[int]]]:
    """CIFAR's own files, with a few images of noise each."""
    made = {name: (noise(count, 3, 32, 32), [int(i) % 10 for i in noise(count)]) for name, count in parts.items()}
    files = {
        name: pickle.dumps({"data": images.reshape(len(images), -1), labels: found})
        for name, (images, found) in made.items()
    }
    files[meta] = pickle.dumps({"label_names": list("abcdefghij"), "fine_label_names": list("abcdefghij")})
    *listed, (_, checksum) = checked(root / folder, files)
    monkeypatch.setattr(kind, "train_list", [part for part in listed if part[0].startswith(("data", "train"))])
    monkeypatch.setattr(kind, "test_list", [part for part in listed if part[0].startswith("test")])
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": checksum})  # type: ignore[attr-defined]
    return made


@pytest.mark.usefixtures("_no_network")
def test_cifar10_is_read_from_its_own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {f"data_batch_{i}": i for i in range(1, 6)} | {"test_batch": 3}
    made = batches_of_cifar(
        tmp_path, monkeypatch, datasets.CIFAR10, "cifar-10-batches-py", parts, "labels", "batches.meta"
    )
    source = CIFAR10(str(tmp_path))
    assert source.splits == ("train", "test")
    for split, wanted in (("train", [f"data_batch_{i}" for i in range(1, 6)]), ("test", ["test_batch"])):
        view = all_of(source.items(split))
        assert torch.equal(view.data, torch.from_numpy(np.concatenate([made[name][0] for name in wanted])))
        assert view.meta["label"].tolist() == [label for name in wanted for label in made[name][1]]
        assert view.data.is_contiguous()


@pytest.mark.usefixtures("_no_network")
def test_cifar100_is_read_from_its_own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = batches_of_cifar(
        tmp_path, monkeypatch, datasets.CIFAR100, "cifar-100-python", {"train": 6, "test": 3}, "fine_labels", "meta"
    )
    for split in ("train", "test"):
        view = all_of(CIFAR100(str(tmp_path)).items(split))
        assert torch.equal(view.data, torch.from_numpy(made[split][0]))
        assert view.meta["label"].tolist() == made[split][1]


@pytest.mark.usefixtures("_no_network")
def test_stl10_is_read_from_its_own_files_and_trains_on_what_has_no_label_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = {name: noise(count, 3, 96, 96) for name, count in (("train", 4), ("unlabeled", 5), ("test", 3))}
    labels = {"train": [1, 2, 10, 4], "test": [7, 1, 3]}
    # Columns first, as Matlab has it; labels from 1.
    files = {f"{name}_X.bin": found.transpose(0, 1, 3, 2).tobytes() for name, found in images.items()}
    files |= {f"{name}_y.bin": bytes(found) for name, found in labels.items()}
    listed = checked(tmp_path / "stl10_binary", files)
    (tmp_path / "stl10_binary" / "class_names.txt").write_text("\n".join("abcdefghij"))
    monkeypatch.setattr(datasets.STL10, "train_list", [part for part in listed if not part[0].startswith("test")])
    monkeypatch.setattr(datasets.STL10, "test_list", [part for part in listed if part[0].startswith("test")])
    order = {name: i for i, name in enumerate(["train_X.bin", "train_y.bin", "unlabeled_X.bin"])}
    datasets.STL10.train_list.sort(key=lambda part: order[part[0]])
    datasets.STL10.test_list.sort()
    train, test = (all_of(STL10(str(tmp_path)).items(split)) for split in ("train", "test"))
    assert torch.equal(train.data, torch.from_numpy(np.concatenate([images["train"], images["unlabeled"]])))
    assert train.meta["label"].tolist() == [0, 1, 9, 3, -1, -1, -1, -1, -1]
    assert torch.equal(test.data, torch.from_numpy(images["test"]))
    assert test.meta["label"].tolist() == [6, 0, 2]


@pytest.mark.usefixtures("_no_network")
@pytest.mark.parametrize(("source", "name"), [(CIFAR10, "CIFAR-10"), (CIFAR100, "CIFAR-100"), (STL10, "STL-10")])
def test_data_that_is_nowhere_to_be_had_is_told_with_what_to_do(tmp_path: Path, source: type, name: str) -> None:
    root = tmp_path / "nothing"
    with pytest.raises(CrlError) as caught:
        source(str(root)).items("train")
    assert re.search(
        rf"{name}\b.*'{re.escape(str(root))}'.*no network in a test.*\bsource=vision/folder, source=vision/arrays\b",
        str(caught.value),
    )


@pytest.mark.usefixtures("_no_network")
def test_a_damaged_file_of_cifar_is_not_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {f"data_batch_{i}": 2 for i in range(1, 6)} | {"test_batch": 2}
    batches_of_cifar(tmp_path, monkeypatch, datasets.CIFAR10, "cifar-10-batches-py", parts, "labels", "batches.meta")
    mark = tmp_path / "mark"
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").write_bytes(pickle.dumps(Trap(mark)))
    with pytest.raises(CrlError, match=r"\bCIFAR-10\b.*\bfolder\b"):
        CIFAR10(str(tmp_path)).items("train")
    assert not mark.exists()
