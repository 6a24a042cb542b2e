"""What a user holds becomes a view by the reader; what a part has learned that is no tensor goes along as files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from shapes import SHORT, Sentence, Twice

import crl_core as crl
from crl_core import CrlError, Pipeline, View
from crl_core.cli import main

TEXTS = ["the cat sat", "a dog ran", "the dog sat down", "one cat ran", "two dogs ran off", "a cat"]


class TextItems:
    """Raw items: texts as they are."""

    def __init__(self, count: int) -> None:
        self.texts = (TEXTS * count)[:count]

    def __len__(self) -> int:
        return len(self.texts)

    def __getitems__(self, indices: list[int]) -> View:
        index = torch.tensor(indices)
        return View([self.texts[i] for i in indices], {"instance": index, "label": index % len(TEXTS)})


class Texts:
    splits: ClassVar[tuple[str, ...]] = ("train", "test")

    def __init__(self, count: int = 48) -> None:
        self.count = count

    def items(self, split: str) -> TextItems:
        return TextItems(self.count if split == "train" else 12)


class WordReader:
    """Texts to numbers of words, padded, by a vocabulary that it learns from the source."""

    def __init__(self, longest: int = 4) -> None:
        self.longest = longest
        self.words: dict[str, int] = {}

    def on_source(self, items: Any, source: Any) -> None:
        found = sorted({word for text in items.texts for word in text.split()})
        learned = {word: i + 1 for i, word in enumerate(found)}
        if self.words and self.words != learned:
            raise CrlError("the texts have other words than those that were learned")
        self.words = learned

    def __call__(self, items: Sequence[Any]) -> View:
        if wrong := [i for i, item in enumerate(items) if not isinstance(item, str)]:
            raise CrlError(f"item {wrong[0]} is no text: {items[wrong[0]]!r}")
        numbers = torch.zeros(len(items), self.longest, dtype=torch.int64)
        for row, text in enumerate(items):
            known = [self.words.get(word, 0) for word in text.split()][: self.longest]
            numbers[row, : len(known)] = torch.tensor(known)
        mask = numbers > 0
        return View({"words": numbers, "mask": mask}, {"instance": torch.arange(len(items))})

    def files(self) -> Mapping[str, bytes]:
        return {"words.json": json.dumps(self.words).encode()} if self.words else {}

    def load_files(self, files: Mapping[str, bytes]) -> None:
        self.words = json.loads(files["words.json"])


crl.register("source", "readers-texts", Texts)
crl.register("reader", "readers-words", WordReader)


def pipeline() -> Pipeline:
    return Pipeline(Twice(), reader=WordReader(), encoder=Sentence(), score=crl.Cosine(0.1), loss=crl.InfoNCE())


@pytest.fixture
def run(tmp_path: Path) -> Path:
    crl.fit(pipeline(), Texts(), SHORT, out=tmp_path / "run", accelerator="cpu", devices=1, show=False)
    return tmp_path / "run"


def test_texts_are_encoded_as_they_come(run: Path) -> None:
    opened = crl.load(run)  # without the source
    z = opened.encode(["the cat sat", "a dog ran"])
    batch = Texts().items("test").__getitems__([0, 1])
    assert torch.equal(z, opened.encode(batch))
    assert torch.equal(z, crl.embed(opened, Texts().items("test")).z[:2])


def test_what_was_learned_stands_in_the_run_by_its_digest(run: Path) -> None:
    listed = json.loads((run / "files" / "files.json").read_text())
    digest = listed["reader"]["words.json"]
    content = (run / "files" / digest).read_bytes()
    assert hashlib.sha256(content).hexdigest() == digest
    assert json.loads(content) == crl.load(run).reader.words  # type: ignore[union-attr]


def test_it_goes_along_with_an_export(run: Path, tmp_path: Path) -> None:
    opened = crl.load(run)
    with pytest.raises(CrlError, match="local/"):  # parts of this process alone
        crl.save(opened, tmp_path / "saved")
    from crl_core.engine import folder

    (tmp_path / "saved").mkdir()
    folder.write_files(tmp_path / "saved", opened)
    fresh = pipeline()
    folder.load_files(tmp_path / "saved", fresh)
    assert fresh.reader.words == opened.reader.words  # type: ignore[union-attr]


@pytest.mark.parametrize("what", ["changed", "missing", "a path"])
def test_a_file_that_is_not_what_it_was_is_refused(run: Path, what: str) -> None:
    listed = run / "files" / "files.json"
    digest = json.loads(listed.read_text())["reader"]["words.json"]
    if what == "changed":
        (run / "files" / digest).write_bytes(b"{}")
    elif what == "missing":
        (run / "files" / digest).unlink()
    else:
        listed.write_text(json.dumps({"reader": {"words.json": "../spec.toml"}}))
    with pytest.raises(CrlError, match=digest if what != "a path" else "spec.toml"):
        crl.load(run)


def test_a_run_goes_on_with_what_it_has_learned(run: Path) -> None:
    again = crl.fit(
        pipeline(), Texts(), SHORT, out=run, resume=True, accelerator="cpu", devices=1, show=False
    )  # fmt: skip
    assert again.finished


def test_the_command_line_reads_them_too(run: Path, tmp_path: Path) -> None:
    import numpy as np

    out = tmp_path / "z.npz"
    assert main(["embed", str(run), "--items", *TEXTS, "--out", str(out)]) == 0
    assert np.load(out)["representation"].shape[0] == len(TEXTS)


def test_raw_items_without_a_reader_are_told_in_words() -> None:
    plain = Pipeline(Twice(), encoder=Sentence(), score=crl.Cosine(0.1), loss=crl.InfoNCE())
    for batch in (["a cat"], View(["a cat"], {"instance": torch.arange(1)}), torch.randn(2, 3)):
        with pytest.raises(CrlError, match="View"):
            plain.encode(batch)  # type: ignore[arg-type]


def test_items_keep_the_number_that_the_source_gives_them() -> None:
    found = pipeline().read(Texts().items("train").__getitems__([7, 3]))
    assert found.meta["instance"].tolist() == [7, 3]
    assert found.meta["label"].tolist() == [1, 3]


def test_a_wrong_item_is_named() -> None:
    with pytest.raises(CrlError, match="item 1"):
        pipeline().encode(["a cat", 3])
