from __future__ import annotations

import logging
import os
import warnings
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, ClassVar

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from crl_core import CrlError, View, check_split

log = logging.getLogger("crl")

_TRAIN, _TEST = ("train", "training"), ("test", "val", "valid", "validation")
_KEPT = 1 << 30  # bytes of images that are kept in memory once they have been read


class Folder:
    """A folder of images, with a folder for each class or without; every image as a square of `size` pixels.

    The short side is scaled to `size` and the middle is cut out; EXIF's rotation is applied, and
    transparent pixels become white. Broken files are left out, counted and
    named in the log. Folders `train` and `test` (or `val`) in it are the splits; without one
    for testing, some images are held out, chosen by their names. A label is the place of its class
    among the classes of all splits.

    >>> import os, tempfile
    >>> from PIL import Image
    >>> from crl_vision.sources.folder import Folder
    >>> root = tempfile.mkdtemp()
    >>> for kind in ("train/cats", "train/dogs", "test/dogs"):
    ...     os.makedirs(os.path.join(root, kind))
    ...     Image.new("RGB", (60, 40)).save(os.path.join(root, kind, "1.png"))
    >>> view = Folder(root, size=32).items("train").__getitems__([0, 1])
    >>> view.data.shape, view.meta["label"]
    (torch.Size([2, 3, 32, 32]), tensor([0, 1]))

    Args:
        root: the folder.
        size: height and width of the images. Larger than the views, so that crops keep their detail.
        channels: 3 for colour, 1 for grey.
        test: the share of the images for testing, if there is no such folder.

    Raises:
        CrlError: the folder is missing, or has no image in it.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "test")

    def __init__(self, root: str, size: int = 128, channels: int = 3, test: float = 0.1) -> None:
        if channels not in (1, 3):
            raise ValueError(f"channels is 1 or 3, not {channels}")
        if size < 1:
            raise ValueError(f"size is at least 1 pixel, not {size}")
        if not 0 < test < 1:
            raise ValueError(f"test is a share between 0 and 1, not {test}")
        self.root, self.size, self.channels, self.test = root, size, channels, test

    def items(self, split: str) -> Files:
        check_split(split, self.splits)
        if not Path(self.root).is_dir():
            raise CrlError(f"there is no folder {self.root}")
        root, test = self._folders()
        files = _images(root)
        if test is not None:
            theirs = _images(test)
            classes = _classes(root, files) | _classes(test, theirs)
            if split == "test":
                return Files(test, theirs, classes, self.size, self.channels)
            return Files(root, files, classes, self.size, self.channels)
        if len(files) < 2:
            raise CrlError(f"{root} holds a single image: at least 2 are needed, one to train and one to test")
        # By name: the same images every time, and nearly the same when others are added.
        drawn = sorted(files, key=lambda path: (zlib.crc32(path.relative_to(root).as_posix().encode()), path))
        held = min(len(files) - 1, max(1, round(self.test * len(files))))
        chosen = sorted(drawn[:held] if split == "test" else drawn[held:])
        return Files(root, chosen, _classes(root, files), self.size, self.channels)

    def _folders(self) -> tuple[Path, Path | None]:
        """Where the images are, and where those for testing, if they have a folder of their own."""
        there = {path.name.lower(): path for path in Path(self.root).iterdir() if path.is_dir()}
        there = {name: path for name, path in there.items() if not name.startswith(".")}
        train, test = (next((there[name] for name in names if name in there), None) for names in (_TRAIN, _TEST))
        if train is not None and (test is not None or len(there) == 1):
            return train, test
        return Path(self.root), None


class Files:
    """Image files, read when they are asked for; those that can't be read are left out.

    Attributes:
        broken: what is wrong, by path.
    """

    def __init__(self, root: Path, files: list[Path], classes: set[str], size: int, channels: int) -> None:
        self.root, self.files, self.size, self.channels = root, files, size, channels
        self.broken: dict[Path, str] = {}
        self.classes = sorted(classes)
        place = {name: i for i, name in enumerate(self.classes)}
        # Images next to the classes' folders have no class.
        self.label = torch.tensor([place.get(_class(root, file), -1) for file in files]) if classes else None
        small = len(files) * channels * size * size <= _KEPT
        self._kept: dict[int, Tensor] | None = {} if small else None

    def __len__(self) -> int:
        return len(self.files)

    def __getitems__(self, indices: list[int]) -> View:
        found = [(i, image) for i in indices if (image := self._image(i)) is not None]
        data = torch.zeros(0, self.channels, self.size, self.size, dtype=torch.uint8)
        index = torch.tensor([i for i, _ in found], dtype=torch.int64)
        if found:
            data = torch.stack([image for _, image in found])
        columns = {"instance": index} | ({} if self.label is None else {"label": self.label[index]})
        return View(data, columns)

    def _image(self, index: int) -> Tensor | None:
        path = self.files[index]
        if path in self.broken:
            return None
        if self._kept is not None and index in self._kept:
            return self._kept[index]
        try:
            image = read(path, self.size, self.channels)
        except Exception as error:  # decoders raise whatever they like
            self.broken[path] = f"{type(error).__name__}: {error}"
            log.warning("%s is left out (%d so far): %s", path, len(self.broken), self.broken[path])
            return None
        if self._kept is not None:
            self._kept[index] = image
        return image


def read(file: Path | BinaryIO, size: int | None, channels: int) -> Tensor:
    """The middle square of an image, as bytes `[channels, size, size]`; without a size, as large as it is.

    Raises:
        Exception: it is no whole image; of many kinds, as Pillow's decoders raise them.
    """
    with warnings.catch_warnings():
        # More pixels than Pillow thinks wise: a bomb, until somebody raises Image.MAX_IMAGE_PIXELS.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(file, formats=_formats()) as image:
            if size is not None:
                image.draft("RGB", (2 * size, 2 * size))  # JPEG is decoded no larger than needed
            return square(image, size, channels)


def square(image: Image.Image, size: int | None, channels: int) -> Tensor:
    """The same of an image that Pillow has opened."""
    upright = _opaque(ImageOps.exif_transpose(image)).convert("RGB" if channels == 3 else "L")
    side = size or min(upright.size)
    fitted = ImageOps.fit(upright, (side, side), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(fitted)).view(side, side, channels).permute(2, 0, 1).contiguous()


def _opaque(image: Image.Image) -> Image.Image:
    """Eight bits a channel, nothing transparent."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        if not np.isfinite(values).all():
            raise ValueError("it holds NaN or infinity")
        # Pillow itself would cut off everything above 255.
        top = 65_535.0 if image.mode.startswith("I;16") or values.max() > 255 else 255.0
        if image.mode == "F" and values.max() <= 1:
            top = 1.0
        return Image.fromarray((values.clip(0, top) / top * 255).round().astype(np.uint8))
    if image.has_transparency_data:
        clear = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)
    return image


def _images(root: Path) -> list[Path]:
    """All image files below `root`, by name, sorted.

    Raises:
        CrlError: there are none.
    """
    known = endings()
    everything = sorted(_files(root))
    found = [path for path in everything if path.suffix.lower() in known]
    if not found:
        raise CrlError(f"no images in {root}, only {len(everything)} other files" if everything else f"{root} is empty")
    return found


def endings() -> set[str]:
    """Of the names of image files, with the dot."""
    known = _formats()
    return {ending for ending, kind in Image.registered_extensions().items() if kind in known}


def _formats() -> list[str]:
    """What Pillow decodes itself: EPS would start another program, and the others it knows by name alone."""
    Image.init()
    return [kind for kind in Image.OPEN if kind not in ("EPS", "BUFR", "GRIB", "HDF5", "MPEG", "WMF")]


def _class(root: Path, file: Path) -> str:
    """The folder below `root` that a file is in; empty for what lies in `root` itself."""
    return file.relative_to(root).parts[0] if file.parent != root else ""


def _classes(root: Path, files: list[Path]) -> set[str]:
    return {_class(root, file) for file in files} - {""}


def _files(root: Path) -> Iterable[Path]:
    seen: set[str] = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(folder) / name for name in names if not name.startswith("."))
