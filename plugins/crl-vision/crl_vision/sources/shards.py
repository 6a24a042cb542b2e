from __future__ import annotations

import io
import logging
import tarfile
from collections.abc import Iterator, Mapping
from glob import glob
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from crl_core import CrlError, View, check_split

from .folder import endings, read

log = logging.getLogger("crl")

_EPOCH = 1_000_003
_LONGEST = 40  # bits of an offset in a shard


class Shards:
    """Images in tar files, as WebDataset lays them out: `000123.jpg` and `000123.cls`, one sample after the other.

    Training reads them as a stream: from beginning to end, shard after shard in an order that depends on seed and
    epoch, and shuffled in blocks of `block` samples, which are in memory undecoded. The place in the stream is six
    numbers. With several processes or workers, each reads every n-th shard of an epoch, or every n-th sample if there
    are fewer shards. Test images are indexed once and fetched by index. The class is the whole number in `.cls`, -1
    without one. Every image is a square of `size` pixels, cut as by `vision/folder`; samples without a readable image
    are left out, counted and named in the log.

    >>> import io, os, tarfile, tempfile
    >>> from PIL import Image
    >>> from crl_vision.sources.shards import Shards
    >>> root, image = tempfile.mkdtemp(), io.BytesIO()
    >>> Image.new("RGB", (60, 40)).save(image, "png")
    >>> with tarfile.open(os.path.join(root, "0.tar"), "w") as shard:
    ...     entry = tarfile.TarInfo("000001.png")
    ...     entry.size = len(image.getvalue())
    ...     shard.addfile(entry, io.BytesIO(image.getvalue()))
    >>> Shards(root, test=root, size=32).items("test").__getitems__([0]).data.shape
    torch.Size([1, 3, 32, 32])

    Args:
        train: a folder of tar files, or a pattern of their paths such as `"data/train-*.tar"`.
        test: the same for testing; without it there is no such split.
        size: height and width of the images.
        channels: 3 for colour, 1 for grey.
        block: samples that are shuffled together.

    Raises:
        CrlError: there are no such files, or no image in them.
    """

    def __init__(
        self, train: str, test: str | None = None, size: int = 128, channels: int = 3, block: int = 1_000
    ) -> None:
        if channels not in (1, 3):
            raise ValueError(f"channels is 1 or 3, not {channels}")
        if size < 1 or block < 1:
            raise ValueError(f"size and block are at least 1, not {size} and {block}")
        self.train, self.test, self.size, self.channels, self.block = train, test, size, channels, block

    @property
    def splits(self) -> tuple[str, ...]:
        return ("train",) if self.test is None else ("train", "test")

    def items(self, split: str) -> ShardStream | ShardItems:
        if check_split(split, self.splits) == "train":
            return ShardStream(_files(self.train), self.size, self.channels, self.block)
        return ShardItems(_files(str(self.test)), self.size, self.channels)


class _Cursor(NamedTuple):
    """Where a sample begins: in which epoch, which of its shards, at which byte; and its number in the epoch."""

    epoch: int = 0
    shard: int = 0
    offset: int = 0
    number: int = 0


class _Sample(NamedTuple):
    path: Path
    key: str
    instance: int
    image: bytes
    label: int


class ShardStream:
    """Images from tar files without end.

    Attributes:
        broken: how many samples were left out.
    """

    def __init__(self, files: list[Path], size: int, channels: int, block: int) -> None:
        self.files, self.size, self.channels, self.block = files, size, channels, block
        self.broken = 0
        self._endings = endings()

    def batches_from(
        self, batch_size: int, place: Mapping[str, Any] | None, seed: int, rank: int, world: int
    ) -> Iterator[tuple[View, dict[str, int]]]:
        """Batches of this process's share, each with the place after it.

        Raises:
            CrlError: a whole epoch has no image that can be read.
        """
        place = place or {}
        cursor = _Cursor(*(place.get(name, 0) for name in _Cursor._fields))
        block, used, good = place.get("block", 0), place.get("used", 0), cursor.epoch
        found: list[tuple[_Sample, Tensor]] = []
        while True:
            samples, after = self._block(cursor, seed, rank, world)
            generator = torch.Generator().manual_seed(seed * _EPOCH + block)
            for chosen in torch.randperm(len(samples), generator=generator).tolist()[used:]:
                used += 1
                image = self._image(samples[chosen])
                if image is not None:
                    good = after.epoch
                    found.append((samples[chosen]._replace(image=b""), image))
                if len(found) == batch_size:
                    yield _view(found), {**cursor._asdict(), "block": block, "used": used}
                    found = []
            cursor, block, used = after, block + 1, 0
            if cursor.epoch > good + 1:
                raise self._nothing()

    def _block(self, start: _Cursor, seed: int, rank: int, world: int) -> tuple[list[_Sample], _Cursor]:
        """The next samples, undecoded, at most to the end of an epoch, and where those after them begin.

        Raises:
            CrlError: a whole epoch has none.
        """
        samples: list[_Sample] = []
        epoch = start.epoch
        for sample, after in self._samples(start, seed, rank, world):
            if sample is not None:
                samples.append(sample)
                epoch = after.epoch
            if samples and (len(samples) == self.block or after.epoch > epoch):
                return samples, after
            if after.epoch > start.epoch + 1:
                break
        raise self._nothing()

    def _nothing(self) -> CrlError:
        return CrlError(f"{self.files[0]} and {len(self.files) - 1} other files hold no images for this process")

    def _samples(self, start: _Cursor, seed: int, rank: int, world: int) -> Iterator[tuple[_Sample | None, _Cursor]]:
        """Samples, and where the next one begins; None for one that can't be read, and at the end of an epoch."""
        cursor = start
        by_shard = len(self.files) >= world
        while True:
            generator = torch.Generator().manual_seed(seed * _EPOCH + cursor.epoch)
            order = torch.randperm(len(self.files), generator=generator).tolist()
            mine = order[rank::world] if by_shard else order
            for which in range(cursor.shard, len(mine)):
                number = cursor.number
                for sample, offset in self._shard(mine[which], cursor.offset):
                    number += 1
                    if by_shard or (number - 1) % world == rank:
                        yield sample, _Cursor(cursor.epoch, which, offset, number)
                cursor = _Cursor(cursor.epoch, which + 1, 0, number)
            cursor = _Cursor(cursor.epoch + 1)
            yield None, cursor

    def _shard(self, which: int, offset: int) -> Iterator[tuple[_Sample | None, int]]:
        """The samples of a shard from this byte on, None for one without an image, and where the next one begins."""
        path = self.files[which]
        try:
            with path.open("rb") as file:
                for key, members, end in _grouped(file, offset):
                    yield self._sample(path, key, members, file, which), end
        except (tarfile.TarError, OSError, EOFError) as error:
            self._leave_out(f"the rest of {path}", error)

    def _sample(
        self, path: Path, key: str, members: dict[str, tarfile.TarInfo], file: io.BufferedReader, which: int
    ) -> _Sample | None:
        member = _image_of(members, self._endings)
        if member is None:
            self._leave_out(f"{path}: {key}", f"no image among {', '.join(members)}")
            return None
        instance = (which << _LONGEST) + member.offset
        return _Sample(path, key, instance, _bytes(file, member), _label(members, file))

    def _image(self, sample: _Sample) -> Tensor | None:
        try:
            return read(io.BytesIO(sample.image), self.size, self.channels)
        except Exception as error:  # decoders raise whatever they like
            self._leave_out(f"{sample.path}: {sample.key}", error)
            return None

    def _leave_out(self, what: str, error: object) -> None:
        self.broken += 1
        log.warning("%s is left out (%d so far): %s", what, self.broken, error)


class ShardItems:
    """Images from tar files by index; those that can't be read are left out.

    Attributes:
        label: `[N]`.
    """

    def __init__(self, files: list[Path], size: int, channels: int) -> None:
        self.files, self.size, self.channels = files, size, channels
        found = [(which, *place) for which in range(len(files)) for place in self._members(which)]
        if not found:
            raise CrlError(f"{files[0]} and {len(files) - 1} other files hold no images")
        table = torch.tensor(found)
        self._places, self.label = table[:, :3], table[:, 3]

    def _members(self, which: int) -> Iterator[tuple[int, int, int]]:
        """Where every image is, its length, and its label."""
        try:
            with self.files[which].open("rb") as file:
                known = endings()
                for _, members, _ in _grouped(file, 0):
                    member = _image_of(members, known)
                    if member is not None:
                        yield member.offset_data, member.size, _label(members, file)
        except (tarfile.TarError, OSError, EOFError) as error:
            log.warning("the rest of %s is left out: %s", self.files[which], error)

    def __len__(self) -> int:
        return len(self._places)

    def __getitems__(self, indices: list[int]) -> View:
        found = [(index, image) for index in indices if (image := self._image(index)) is not None]
        index = torch.tensor([index for index, _ in found], dtype=torch.int64)
        data = torch.zeros(0, self.channels, self.size, self.size, dtype=torch.uint8)
        return View(
            torch.stack([image for _, image in found]) if found else data,
            {"instance": index, "label": self.label[index]},
        )

    def _image(self, index: int) -> Tensor | None:
        which, offset, length = self._places[index].tolist()
        try:
            with self.files[which].open("rb") as file:
                file.seek(offset)
                return read(io.BytesIO(file.read(length)), self.size, self.channels)
        except Exception as error:  # decoders raise whatever they like
            log.warning("%s: the image at byte %d is left out: %s", self.files[which], offset, error)
            return None


def _files(where: str) -> list[Path]:
    """The tar files of a folder or a pattern, sorted.

    Raises:
        CrlError: there are none.
    """
    pattern = f"{where}/**/*.tar" if Path(where).is_dir() else where
    found = sorted(Path(path) for path in glob(pattern, recursive=True) if Path(path).is_file())
    if not found:
        raise CrlError(f"there are no tar files {pattern}")
    return found


def _grouped(file: io.BufferedReader, offset: int) -> Iterator[tuple[str, dict[str, tarfile.TarInfo], int]]:
    """Samples from this byte on: their key, their members by ending, and where the next sample begins."""
    file.seek(offset)
    key: str | None = None
    members: dict[str, tarfile.TarInfo] = {}
    with tarfile.open(fileobj=file, mode="r:") as tar:
        while (member := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # would grow to a list of all; typeshed doesn't know it
            if not member.isfile():
                continue
            name = member.name.rpartition("/")[2]
            if name.startswith("."):
                continue
            ending = name.partition(".")[2]
            theirs = member.name.removesuffix(f".{ending}")
            if theirs != key:
                if key is not None:
                    yield key, members, member.offset
                key, members = theirs, {}
            members[ending.lower()] = member
        if key is not None:
            yield key, members, tar.offset


def _image_of(members: Mapping[str, tarfile.TarInfo], known: set[str]) -> tarfile.TarInfo | None:
    return next((member for ending, member in members.items() if f".{ending}" in known), None)


def _label(members: Mapping[str, tarfile.TarInfo], file: io.BufferedReader) -> int:
    if "cls" not in members:
        return -1
    try:
        return int(_bytes(file, members["cls"]))
    except ValueError:
        return -1


def _bytes(file: io.BufferedReader, member: tarfile.TarInfo) -> bytes:
    """What a member holds; where in the file the tar is read on doesn't change."""
    before = file.tell()
    file.seek(member.offset_data)
    found = file.read(member.size)
    file.seek(before)
    if len(found) < member.size:
        raise EOFError("the file ends too early")
    return found


def _view(found: list[tuple[_Sample, Tensor]]) -> View:
    columns = {
        "instance": torch.tensor([sample.instance for sample, _ in found]),
        "label": torch.tensor([sample.label for sample, _ in found]),
    }
    return View(torch.stack([image for _, image in found]), columns)
