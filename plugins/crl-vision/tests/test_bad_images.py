"""One folder with everything that people have: all sizes and kinds, broken files, and a decompression bomb."""

from __future__ import annotations

import logging
import resource
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from crl_vision.encoders.conv_net import ConvNet
from crl_vision.encoders.patchwise import Patchwise
from crl_vision.samplers.augmented import Augmented
from crl_vision.samplers.jigsaw import Jigsaw
from crl_vision.samplers.multi_crop import MultiCrop
from crl_vision.samplers.patches import Patches
from crl_vision.sources.folder import Folder, read
from PIL import Image

import crl_core as crl

SIDE = 60_000  # pixels of the bomb: ten thousand million bytes in a file of some kilobytes


def pixels(height: int, width: int, *channels: int, kind: type = np.uint8) -> np.ndarray:
    noise = np.random.default_rng(height * width)
    return noise.integers(0, np.iinfo(kind).max, (height, width, *channels), dtype=kind)


def png(width: int, height: int, depth: int, colour: int, data: bytes) -> bytes:
    """A PNG file of these raw lines, which Pillow's own writer would not make."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def bomb() -> bytes:
    return png(SIDE, SIDE, 8, 2, bytes(1 << 20))


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    """16 images that can be read, and 5 files that can't."""
    images = {
        "large.jpg": Image.fromarray(pixels(400, 300, 3)),
        "wide.png": Image.fromarray(pixels(3, 200, 3)),
        "tall.png": Image.fromarray(pixels(200, 3, 3)),
        "pixel.png": Image.fromarray(pixels(1, 1, 3)),
        "grey.png": Image.fromarray(pixels(20, 30)),
        "grey-alpha.png": Image.fromarray(pixels(20, 30, 2), "LA"),
        "rgba.png": Image.fromarray(pixels(20, 30, 4), "RGBA"),
        "palette.png": Image.fromarray(pixels(20, 30, 3)).quantize(7),
        "palette.gif": Image.fromarray(pixels(20, 30, 3)).quantize(7),
        "bit.png": Image.fromarray(pixels(20, 30)).convert("1"),
        "cmyk.jpg": Image.fromarray(pixels(20, 30, 4), "CMYK"),
        "16-bit.png": Image.fromarray(pixels(20, 30, kind=np.uint16)),
        "16-bit.tif": Image.fromarray(pixels(20, 30, kind=np.uint16)),
        "clear.png": Image.new("RGBA", (20, 20), (255, 0, 0, 0)),
    }
    for name, image in images.items():
        image.save(tmp_path / name)
    lines = b"".join(b"\0" + pixels(1, 30 * 3, kind=np.uint16).astype(">u2").tobytes() for _ in range(20))
    (tmp_path / "16-bit-colour.png").write_bytes(png(30, 20, 16, 2, lines))
    lines = b"".join(b"\0" + pixels(1, 30 * 4, kind=np.uint16).astype(">u2").tobytes() for _ in range(20))
    (tmp_path / "16-bit-alpha.png").write_bytes(png(30, 20, 16, 6, lines))
    whole = (tmp_path / "large.jpg").read_bytes()
    (tmp_path / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "corrupt.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "bomb.png").write_bytes(bomb())
    return tmp_path


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("channels", [1, 3])
def test_all_that_can_be_read_is_and_the_rest_is_counted_and_named(
    zoo: Path, channels: int, caplog: pytest.LogCaptureFixture
) -> None:
    source = Folder(str(zoo), size=24, channels=channels)
    found, broken = [], {}
    with caplog.at_level(logging.WARNING, "crl"):
        for split in source.splits:
            items = source.items(split)
            found.append(items.__getitems__(list(range(len(items)))).data)
            broken |= items.broken
    data = torch.cat(found)
    assert data.shape == (16, channels, 24, 24)
    assert data.dtype == torch.uint8
    names = {"truncated.jpg", "corrupt.png", "empty.jpg", "text.png", "bomb.png"}
    assert {path.name for path in broken} == names
    assert "decompression bomb" in broken[zoo / "bomb.png"]
    assert {name for name in names if any(name in record.getMessage() for record in caplog.records)} == names


def test_a_real_bomb_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb())
    assert path.stat().st_size < 10_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(Exception, match="decompression bomb"):
        read(path, 24, 3)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kilobytes, of ten million


def test_what_is_clear_is_white_and_16_bits_of_colour_are_8(zoo: Path) -> None:
    assert read(zoo / "clear.png", 8, 3).unique().tolist() == [255]
    assert read(zoo / "16-bit-colour.png", 20, 3).float().std() > 50
    assert read(zoo / "16-bit-alpha.png", 20, 3).float().mean() > 128, "half of it shows white"


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "sampler",
    [Augmented("simclr", size=16), MultiCrop(size=16), Patches(grid=3), Jigsaw()],
    ids=lambda sampler: type(sampler).__name__,
)
def test_training_goes_on_over_all_of_it(zoo: Path, sampler: object) -> None:
    first, last = sampler.views[0], sampler.views[-1]  # type: ignore[attr-defined]
    branches = {
        "q": crl.Branch(first, encoder=Patchwise(ConvNet(4, 2))),
        "k": crl.Branch(last, tracks="q"),
    }
    pipeline = crl.Pipeline(sampler, branches=branches, contrasts=[crl.Contrast("q", "k", loss=crl.InfoNCE())])  # type: ignore[arg-type]
    training = crl.Training(epochs=2, batch_size=8)
    assert crl.fit(pipeline, Folder(str(zoo), size=24), training, accelerator="cpu", devices=1, show=False).finished
