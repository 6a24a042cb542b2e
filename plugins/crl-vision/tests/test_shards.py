"""Images from tar files: a stream that goes on from any place, and test images by index."""

from __future__ import annotations

import io
import itertools
import json
import logging
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
from crl_vision.sources.digits import Digits
from crl_vision.sources.shards import Shards, ShardStream
from PIL import Image

from crl_core import CrlError, Items, View

SIZE = 8


def picture(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(DIGITS[number].numpy()).save(buffer, "PNG")
    return buffer.getvalue()


DIGITS = Digits().items("train").data[:, 0]
LABELS = Digits().items("train").columns["label"]


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def shard(path: Path, numbers: range, broken: tuple[int, ...] = ()) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for number in numbers:
            add(tar, f"{number:06}.png", b"no picture" if number in broken else picture(number))
            add(tar, f"{number:06}.cls", str(int(LABELS[number])).encode())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(4):
        shard(tmp_path / "train" / f"{i:03}.tar", range(10 * i, 10 * i + 10))
    shard(tmp_path / "test" / "000.tar", range(100, 107))
    return tmp_path


def source(folder: Path, block: int = 6, **options: Any) -> Shards:
    return Shards(str(folder / "train"), str(folder / "test"), size=SIZE, channels=1, block=block, **options)


def taken(
    stream: ShardStream, count: int, place: Any = None, seed: int = 0, rank: int = 0, world: int = 1, size: int = 4
) -> list[tuple[View, Any]]:
    return list(itertools.islice(stream.batches_from(size, place, seed, rank, world), count))


def instances(found: list[tuple[View, Any]]) -> list[int]:
    return [number for view, _ in found for number in view.meta["instance"].tolist()]


def test_an_epoch_shows_every_image_once_with_its_class(folder: Path) -> None:
    found = taken(source(folder).items("train"), 20)
    first, second = instances(found[:10]), instances(found[10:])
    assert len(set(first)) == 40
    assert set(first) == set(second)
    assert first != second
    view = found[0][0]
    assert view.data.shape == (4, 1, SIZE, SIZE)
    assert view.data.dtype is torch.uint8
    labels = torch.cat([view.meta["label"] for view, _ in found[:10]])
    assert sorted(labels.tolist()) == sorted(LABELS[:40].tolist())


@pytest.mark.parametrize("block", [1, 3, 6, 10, 40, 1000])
def test_it_goes_on_exactly_from_every_place(folder: Path, block: int) -> None:
    stream = source(folder, block).items("train")
    every = taken(stream, 25)
    for done in range(24):
        place = json.loads(json.dumps(every[done][1]))
        assert len(json.dumps(place)) < 120
        (view, after), *_ = taken(source(folder, block).items("train"), 1, place)
        wanted, then = every[done + 1]
        assert torch.equal(view.data, wanted.data)
        assert view.meta["instance"].tolist() == wanted.meta["instance"].tolist()
        assert after == then


def test_the_order_is_settled_by_the_seed(folder: Path) -> None:
    stream = source(folder).items("train")
    assert instances(taken(stream, 10)) == instances(taken(stream, 10))
    assert instances(taken(stream, 10)) != instances(taken(stream, 10, seed=1))


@pytest.mark.parametrize("world", [2, 4, 5, 8])
def test_processes_see_disjoint_shares_of_an_epoch(folder: Path, world: int) -> None:
    stream = source(folder).items("train")
    shares = [set(instances(taken(stream, 40 // world, rank=rank, world=world, size=1))) for rank in range(world)]
    assert [len(share) for share in shares] == [40 // world] * world
    assert len(set().union(*shares)) == 40


def test_what_can_not_be_read_is_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shard(tmp_path / "a.tar", range(8), broken=(2, 5))
    with tarfile.open(tmp_path / "a.tar", "a") as tar:
        add(tar, "words.txt", b"no image at all")
        add(tar, "._000001.png", b"hidden")
    stream = Shards(str(tmp_path), size=SIZE, channels=1, block=4).items("train")
    assert isinstance(stream, ShardStream)
    with caplog.at_level(logging.WARNING, logger="crl"):
        found = taken(stream, 7, size=1)
    assert len(set(instances(found[:6]))) == 6
    assert stream.broken >= 3
    assert all(name in caplog.text for name in ("000002", "000005", "words"))
    every = taken(stream, 12, size=1)
    for done in range(11):
        assert instances(taken(stream, 1, every[done][1], size=1)) == instances(every[done + 1 : done + 2])


def test_a_shard_that_ends_too_early_gives_what_it_has(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shard(tmp_path / "a.tar", range(8))
    (tmp_path / "a.tar").write_bytes((tmp_path / "a.tar").read_bytes()[:5_000])
    (tmp_path / "b.tar").write_bytes(b"no tar file")
    stream = Shards(str(tmp_path), size=SIZE, channels=1).items("train")
    with caplog.at_level(logging.WARNING, logger="crl"):
        found = taken(stream, 4, size=1)
    assert len(instances(found)) == 4
    assert "b.tar" in caplog.text


@pytest.mark.parametrize("data", [b"no picture", None])
def test_files_without_a_single_image_are_an_error(tmp_path: Path, data: bytes | None) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        if data is not None:
            add(tar, "1.png", data)
    with pytest.raises(CrlError, match=r"a\.tar"):
        taken(Shards(str(tmp_path)).items("train"), 1)


def test_test_images_are_items_by_index(folder: Path) -> None:
    items = source(folder).items("test")
    assert isinstance(items, Items)
    assert len(items) == 7
    view = items.__getitems__([5, 0])
    assert view.meta["instance"].tolist() == [5, 0]
    assert view.meta["label"].tolist() == LABELS[[105, 100]].tolist()
    assert view.data.shape == (2, 1, SIZE, SIZE)
    assert items.__getitems__([]).data.shape == (0, 1, SIZE, SIZE)


def test_test_images_that_can_not_be_read_are_left_out(tmp_path: Path) -> None:
    shard(tmp_path / "test" / "a.tar", range(4), broken=(1,))
    items = Shards("none", str(tmp_path / "test"), size=SIZE, channels=1).items("test")
    assert items.__getitems__([0, 1, 2]).meta["instance"].tolist() == [0, 2]


def test_no_list_of_all_members_is_held(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = []
    before = tarfile.TarFile.next

    def following(self: tarfile.TarFile) -> Any:
        held.append(len(self.members))
        return before(self)

    monkeypatch.setattr(tarfile.TarFile, "next", following)
    taken(source(folder).items("train"), 20)
    assert max(held) <= 1


@pytest.mark.parametrize(
    ("make", "place"),
    [
        (lambda: Shards("no/such").items("train"), "no/such"),
        (lambda: Shards("no/such").items("test"), "train"),
        (lambda: Shards("no/such", "no/such").items("tset"), "'test'"),
    ],
)
def test_what_is_missing_is_told(make: Any, place: str) -> None:
    with pytest.raises(CrlError) as error:
        make()
    assert place in str(error.value)


def test_options_out_of_range() -> None:
    for options in ({"size": 0}, {"block": 0}, {"channels": 2}):
        with pytest.raises(ValueError, match=next(iter(options))):
            Shards("x", **options)
