"""What a user holds, read as the sources read it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from crl_vision.encoders.conv_net import ConvNet
from crl_vision.readers.image_reader import ImageReader
from crl_vision.recipes.simclr import simclr
from crl_vision.samplers.augmented import Augmented
from crl_vision.sources.folder import Folder
from PIL import Image

import crl_core as crl
from crl_core import CrlError, Pipeline


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Files of several kinds: lossless and lossy, upright and turned, grey, transparent, larger and smaller."""
    noise = np.random.default_rng(0)

    def pixels(height: int, width: int, channels: int = 3) -> Any:
        return Image.fromarray(noise.integers(0, 255, (height, width, channels), dtype=np.uint8))

    turned = Image.Exif()
    turned[0x0112] = 6
    pixels(30, 20).save(tmp_path / "a.png")
    pixels(140, 200).save(tmp_path / "b.jpg", exif=turned)
    pixels(9, 12).convert("L").save(tmp_path / "c.png")
    pixels(24, 24, 4).save(tmp_path / "d.png")
    pixels(40, 30).save(tmp_path / "e.webp")
    return sorted(tmp_path.iterdir())


@pytest.mark.parametrize("channels", [1, 3])
def test_a_path_is_read_as_the_folder_reads_it(photos: list[Path], channels: int) -> None:
    items = Folder(str(photos[0].parent), 16, channels, test=0.2).items("train")
    expected = items.__getitems__(list(range(len(items)))).data
    reader = ImageReader(16, channels)
    assert torch.equal(reader([str(path) for path in items.files]).data, expected)
    assert torch.equal(reader([path.read_bytes() for path in items.files]).data, expected)
    assert torch.equal(reader(items.files).data, expected)


def test_one_image_is_the_same_however_it_is_held(photos: list[Path]) -> None:
    with Image.open(photos[0]) as image:
        image.load()
    array = np.asarray(image)
    tensor = torch.tensor(array).permute(2, 0, 1)
    held = [photos[0], str(photos[0]), photos[0].read_bytes(), image, array, tensor, array / 255, tensor.float() / 255]
    for size in (None, 16, 20, 33):
        view = ImageReader(size)(held)
        assert view.data.dtype == torch.uint8
        assert view.data.shape == (8, 3, size or 20, size or 20)
        assert (view.data == view.data[0]).all()
        assert view.meta["instance"].tolist() == list(range(8))
    assert torch.equal(ImageReader()([array]).data[0], tensor[:, 5:25]), "the middle as it is"


def test_grey_and_transparent_arrays() -> None:
    grey = np.arange(36, dtype=np.uint8).reshape(6, 6)
    found = ImageReader(channels=1)([grey, grey[..., None], torch.tensor(grey), torch.tensor(grey)[None], grey > 40])
    assert torch.equal(found.data[:4], torch.tensor(grey).expand(4, 1, 6, 6))
    assert not found.data[4].any()
    clear = np.zeros((6, 6, 4), dtype=np.uint8)
    assert (ImageReader()([clear]).data == 255).all(), "nothing is white"


def test_a_bad_item_is_named(photos: list[Path], tmp_path: Path) -> None:
    good, broken = str(photos[0]), tmp_path / "broken.png"
    broken.write_bytes(photos[0].read_bytes()[:60])
    for bad, words in (
        (str(tmp_path / "none.png"), r"none.png', is no image: FileNotFoundError"),
        (broken, r"broken.png', is no image"),
        (b"text", "of type bytes, is no image: UnidentifiedImageError"),
        (7, "of type int, is no image: TypeError: an item is a path"),
        (np.zeros((4, 4, 2), dtype=np.uint8), r"its shape is \[4, 4, 2\]"),
        (np.zeros((0, 4), dtype=np.uint8), r"its shape is \[0, 4\]"),
        (np.full((4, 4), 7.0), "not from 0 to 1: divide by 255"),
        (np.full((4, 4), np.nan), "not from 0 to 1"),
        (np.zeros((4, 4), dtype=np.int64), "not int64"),
        (torch.zeros(3, 4, 4) - 1, "not from 0 to 1"),
    ):
        with pytest.raises(CrlError, match=f"(?s)^item 1, .*{words}"):
            ImageReader(8)([good, bad, good])
    with pytest.raises(CrlError, match=r"\bitem 1\b.*\b6 pixels\b.*\bitem 0 20\b.*`size`"):
        ImageReader()([good, np.zeros((6, 6), dtype=np.uint8)])
    with pytest.raises(CrlError, match="no image"):
        ImageReader()([])
    for options in ({"channels": 2}, {"size": 0}):
        with pytest.raises(ValueError):
            ImageReader(**options)


def test_a_pipeline_encodes_what_a_user_holds(photos: list[Path]) -> None:
    source = Folder(str(photos[0].parent), 16, test=0.2)
    batch = source.items("train").__getitems__([0, 1, 2])
    paths = source.items("train").files[:3]
    pipeline = Pipeline(
        Augmented(), reader="vision/images", encoder=ConvNet(4, 2), loss=crl.InfoNCE(), score=crl.Cosine(0.1)
    ).replace("reader", ImageReader(16))
    pipeline.build(batch, source)
    assert torch.equal(pipeline.encode([str(paths[0]), paths[1].read_bytes(), paths[2]]), pipeline.encode(batch))


def test_a_recipe_reads_what_its_source_has() -> None:
    made = simclr()
    reader = made.pipeline.reader
    assert (reader.size, reader.channels) == (16, 1)
    batch = made.source.items("train").__getitems__([0, 5, 9])
    pipeline = made.pipeline.build(batch, made.source)
    held = [batch.data[0], batch.data[1, 0].numpy(), Image.fromarray(batch.data[2, 0].numpy())]
    assert torch.equal(pipeline.encode(held), pipeline.encode(batch))
