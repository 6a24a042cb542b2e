"""Every part of crl-vision by every check of its kind."""

from __future__ import annotations

import io
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from crl_vision.encoders.conv_net import ConvNet
from crl_vision.sources.digits import Digits
from PIL import Image

from crl_core import MLP, Bank, View, conformance

FILES = Path(tempfile.mkdtemp(prefix="crl-vision-"))


def arrays() -> dict[str, Any]:
    """A file as MedMNIST has them."""
    path = FILES / "arrays.npz"
    noise = np.random.default_rng(0)
    parts = {
        f"{split}_{name}": noise.integers(0, 255, (12, *shape), dtype=np.uint8)
        for split in ("train", "test")
        for name, shape in (("images", (16, 16, 3)), ("labels", (1,)))
    }
    np.savez(path, **parts)
    return {"path": str(path)}


def folder() -> dict[str, Any]:
    """Two classes of small images."""
    noise = np.random.default_rng(0)
    for split in ("train", "test"):
        for label in ("a", "b"):
            place = FILES / "photos" / split / label
            place.mkdir(parents=True, exist_ok=True)
            for number in range(4):
                pixels = noise.integers(0, 255, (20, 24, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{number}.png")
    return {"root": str(FILES / "photos"), "size": 16}


def shards() -> dict[str, Any]:
    """Tar files of small images with their classes."""
    noise = np.random.default_rng(0)
    for split in ("train", "test"):
        (FILES / "shards" / split).mkdir(parents=True, exist_ok=True)
        for part in range(2):
            with tarfile.open(FILES / "shards" / split / f"{part}.tar", "w") as tar:
                for number in range(8):
                    buffer = io.BytesIO()
                    Image.fromarray(noise.integers(0, 255, (20, 24, 3), dtype=np.uint8)).save(buffer, "PNG")
                    for ending, data in (("png", buffer.getvalue()), ("cls", str(number % 2).encode())):
                        member = tarfile.TarInfo(f"{part}-{number}.{ending}")
                        member.size = len(data)
                        tar.addfile(member, io.BytesIO(data))
    root = FILES / "shards"
    return {"train": str(root / "train"), "test": str(root / "test"), "size": 16, "block": 5}


def images() -> View:
    return View(torch.rand(8, 3, 16, 16), {"instance": torch.arange(8)})


class Noise:
    """In place of torchvision's data sets, which would be downloaded."""

    def __init__(self, root: str, **_: Any) -> None:
        noise = np.random.default_rng(0)
        self.data = noise.integers(0, 255, (10, 32, 32, 3), dtype=np.uint8)
        self.targets = list(range(10))


class STL10(Noise):
    def __init__(self, root: str, **_: Any) -> None:
        super().__init__(root)
        self.data = self.data.transpose(0, 3, 1, 2)
        self.labels = np.arange(10)


@pytest.fixture(autouse=True)
def _nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, noise in (("CIFAR10", Noise), ("CIFAR100", Noise), ("STL10", STL10)):
        monkeypatch.setattr(torchvision.datasets, name, noise)


def small() -> View:
    return View(torch.rand(8, 3, 32, 32), {"instance": torch.arange(8)})


def grid() -> torch.Tensor:
    """7×7 patches of eight images, encoded."""
    return torch.randn(8, 49, 16)


def nine() -> torch.Tensor:
    """The patches of eight jigsaws, encoded."""
    return torch.randn(8, 9, 16)


def held() -> list[Any]:
    """Images of several sizes in the forms in which somebody holds them."""
    noise = np.random.default_rng(0)
    found: list[Any] = []
    for number in range(8):
        pixels = noise.integers(0, 255, (20 + number, 24, 3), dtype=np.uint8)
        place = FILES / f"held-{number}.png"
        Image.fromarray(pixels).save(place)
        found.append([str(place), place.read_bytes(), pixels, torch.tensor(pixels).permute(2, 0, 1)][number % 4])
    return found


LENDS = "it holds what another memory holds, and takes nothing"

test_conformance = conformance(
    "crl-vision",
    options={
        "vision/arrays": arrays,
        "vision/folder": folder,
        "vision/shards": shards,
        "vision/by-class": lambda: {"source": Digits(), "groups": 4},
        "vision/images": {"size": 16},
        "vision/vit": {"depth": 2, "width": 12},
        "vision/w-mse": {"width": 8},  # a slice of 2 · width pairs, of 16 items
        "vision/barlow-twins": {"width": 64},  # instead of 8,192, which takes gigabytes
        "vision/vicreg": {"width": 64},
        "vision/patchwise": lambda: {"encoder": ConvNet(4, 2)},
        "vision/one-place": lambda: {"head": MLP(8, norm=False)},
        "vision/borrowed": lambda: {"memory": Bank(400)},
    },
    examples={
        "vision/bag-of-patches": images,
        "vision/conv-net": images,
        "vision/resnet": images,
        "vision/multi-scale": small,
        "vision/patchwise": small,
        "vision/vit": small,
        "vision/below": grid,
        "vision/one-place": grid,
        "vision/pieces": nine,
        "vision/images": held,
    },
    expected_failures={
        ("vision/bag-of-patches", "gradient_is_right"): "visual words are counted, which has no gradient",
    }
    | {
        ("vision/borrowed", check): LENDS
        for check in (
            "holds_what_it_took",
            "keeps_the_metadata",
            "holds_no_gradient",
            "owns_what_it_holds",
            "takes_any_batch",
            "state_through_safetensors",
        )
    },
)
