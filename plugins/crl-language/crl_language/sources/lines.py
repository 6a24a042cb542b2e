from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import torch

from crl_core import CrlError, InMemory, check_split

log = logging.getLogger("crl")


class Lines:
    """Text files, one text on each line: a file, or all `.txt` files of a folder in the order of their names.

    Empty lines end a section and are no items. The columns are `document`, the number of the file, `section`, the
    number of the stretch of lines between empty ones, and `line`, the number of the item in the order of reading.

    >>> from pathlib import Path
    >>> from crl_language.sources.lines import Lines
    >>> _ = Path("verses.txt").write_text("one\\ntwo\\n\\nthree\\nfour\\n", encoding="utf-8")
    >>> items = Lines("verses.txt", held_out=0.25).items("train")
    >>> view = items.__getitems__([0, 1, 2])
    >>> view.data, view.meta["section"].tolist()
    (['one', 'two', 'three'], [0, 0, 1])

    Args:
        path: of the file or folder; UTF-8, with or without a byte order mark, any line ends.
        held_out: the share of the lines for testing, the last ones of the whole.
        longest: characters of a line; longer lines are cut, and counted in the log.

    Raises:
        CrlError: there is no such file, it isn't UTF-8, or it has fewer than two lines of text.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "test")

    def __init__(self, path: str, held_out: float = 0.1, longest: int = 10_000) -> None:
        if not 0 < held_out < 1:
            raise CrlError(f"held_out is a share above 0 and below 1, not {held_out}")
        self.path, self.held_out, self.longest = path, held_out, longest

    def items(self, split: str) -> InMemory:
        check_split(split, self.splits)
        texts, places = self._read
        part = share_of(split, len(texts), self.held_out)
        columns = torch.tensor(places[part])
        return InMemory(texts[part], {"document": columns[:, 0], "section": columns[:, 1], "line": columns[:, 2]})

    @cached_property
    def _read(self) -> tuple[list[str], list[tuple[int, int, int]]]:
        texts: list[str] = []
        places: list[tuple[int, int, int]] = []
        section = cut = 0
        for document, file in enumerate(_files(Path(self.path))):
            open_section = False
            for line in lines_of(file):
                text = " ".join(line.replace("\0", " ").split())
                if not text:
                    section, open_section = section + open_section, False
                    continue
                cut += len(text) > self.longest
                places.append((document, section, len(texts)))
                texts.append(text[: self.longest])
                open_section = True
            section += open_section
        if len(texts) < 2:
            raise CrlError(f"{self.path} has {len(texts)} lines of text; at least 2 are needed, to train and to test")
        if cut:
            log.warning("%s: %d lines are cut to %d characters", self.path, cut, self.longest)
        return texts, places


def share_of(split: str, count: int, held_out: float) -> slice:
    """The places of a split: the last ones are held out, at least one of each split."""
    first = min(count - 1, max(1, round(count * (1 - held_out))))
    return slice(0, first) if split == "train" else slice(first, None)


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(path.glob("*.txt"))
        if not found:
            raise CrlError(f"the folder {path} has no .txt files")
        return found
    if not path.is_file():
        raise CrlError(f"there is no file {path}")
    return [path]


def lines_of(path: Path) -> Iterator[str]:
    """The lines of a file in UTF-8, with or without a byte order mark.

    Raises:
        CrlError: it can't be read, or isn't UTF-8.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield from file
    except OSError as error:
        raise CrlError(f"can't read {path}: {error}") from None
    except UnicodeDecodeError as error:
        raise CrlError(
            f"{path} is not UTF-8, at byte {error.start}: convert it, for instance by iconv -t UTF-8"
        ) from None
