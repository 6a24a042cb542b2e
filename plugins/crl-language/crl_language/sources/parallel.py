from __future__ import annotations

import csv
import logging
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import torch

from crl_core import CrlError, InMemory, check_split

from .lines import lines_of, share_of

log = logging.getLogger("crl")


class Parallel:
    """Pairs of texts from two files, line by line, or from two columns of a CSV or TSV file.

    The data are `{"left": […], "right": […]}`, and the column `line` is the number of the line, from 0. Pairs with an
    empty side are left out, and counted in the log.

    >>> from pathlib import Path
    >>> from crl_language.sources.parallel import Parallel
    >>> _ = Path("pairs.tsv").write_text("cat\\tgato\\ndog\\tperro\\nhouse\\tcasa\\n", encoding="utf-8")
    >>> items = Parallel("pairs.tsv", held_out=0.34).items("train")
    >>> items.__getitems__([1]).data
    {'left': ['dog'], 'right': ['perro']}

    Args:
        left: of the left texts: a file with one on each line; or a `.csv` or `.tsv` file with both sides.
        right: of the right texts, with as many lines; None if the first file has both.
        columns: the numbers of the two columns of a `.csv` or `.tsv` file, from 0.
        header: whether the first line of a `.csv` or `.tsv` file names its columns.
        held_out: the share of the pairs for testing, the last ones.

    Raises:
        CrlError: a file can't be read, the two have different numbers of lines, a line has too few columns, or there
            are fewer than two pairs.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "test")
    evaluators: ClassVar[tuple[str, ...]] = (
        "language/pair-retrieval", "core/alignment-uniformity", "core/effective-rank"
    )  # fmt: skip

    def __init__(
        self,
        left: str,
        right: str | None = None,
        columns: tuple[int, int] = (0, 1),
        header: bool = False,
        held_out: float = 0.1,
    ) -> None:
        if not 0 < held_out < 1 or min(columns) < 0:
            raise CrlError(f"held_out is above 0 and below 1, and columns 0 or more, not {held_out} and {columns}")
        self.left, self.right, self.columns, self.header, self.held_out = left, right, columns, header, held_out

    def items(self, split: str) -> InMemory:
        check_split(split, self.splits)
        lines, left, right = self._read
        part = share_of(split, len(left), self.held_out)
        return InMemory({"left": left[part], "right": right[part]}, {"line": torch.tensor(lines[part])})

    @cached_property
    def _read(self) -> tuple[list[int], list[str], list[str]]:
        pairs = [(" ".join(a.split()), " ".join(b.split())) for a, b in self._pairs()]
        lines = [line for line, pair in enumerate(pairs) if all(pair)]
        if len(lines) < len(pairs):
            log.warning("%s: %d of %d pairs have an empty side", self.left, len(pairs) - len(lines), len(pairs))
        if len(lines) < 2:
            raise CrlError(f"{self.left} has {len(lines)} pairs; at least 2 are needed, to train and to test")
        return lines, [pairs[line][0] for line in lines], [pairs[line][1] for line in lines]

    def _pairs(self) -> list[tuple[str, str]]:
        if self.right is None:
            return [
                (row[self.columns[0]], row[self.columns[1]]) for row in rows_of(self.left, self.columns, self.header)
            ]
        left, right = ([line.replace("\0", " ") for line in lines_of(_file(path))] for path in (self.left, self.right))
        if len(left) != len(right):
            raise CrlError(f"{self.left} has {len(left)} lines, and {self.right} has {len(right)}: a pair is a line")
        return list(zip(left, right, strict=True))


def rows_of(path: str, columns: tuple[int, ...], header: bool) -> list[list[str]]:
    """The rows of a `.csv` or `.tsv` file that has all these columns; one with tabs in its first line has no quotes.

    Raises:
        CrlError: it has another ending, can't be read, or a row has fewer columns.
    """
    file = _file(path)
    if file.suffix not in (".csv", ".tsv"):
        raise CrlError(f"{path}: one file with columns is a .csv or .tsv file; of two files, name the other too")
    by_tabs = "\t" in next(iter(lines_of(file)), "")
    lines = lines_of(file)
    reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE) if by_tabs else csv.reader(lines)
    found = []
    try:
        for number, row in enumerate(reader):
            if not row or (header and number == 0):
                continue
            if len(row) <= max(columns):
                raise CrlError(
                    f"{path}, line {reader.line_num}: {len(row)} columns, and there is to be a {max(columns)}"
                )
            found.append(row)
    except csv.Error as error:
        raise CrlError(f"{path}, line {reader.line_num}: {error}") from None
    return found


def _file(path: str) -> Path:
    if not Path(path).is_file():
        raise CrlError(f"there is no file {path}")
    return Path(path)
