from __future__ import annotations

import csv
import logging
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from crl_core import CrlError

from ..knowledge import KnowledgeGraph

log = logging.getLogger("crl")

_SPLITS = ("train", "valid", "test")
_ENDINGS = (".tsv", ".txt", ".csv")


class TripleFiles(KnowledgeGraph):
    r"""Triples in files of three columns, head, relation and tail, by name; without a header line.

    >>> import os, tempfile
    >>> from crl_graph.sources.triples import TripleFiles
    >>> path = os.path.join(tempfile.mkdtemp(), "facts.csv")
    >>> with open(path, "w") as file:
    ...     _ = file.write("Colin,father,James\nColin,mother,Victoria\n")
    >>> TripleFiles(path).entities
    ('Colin', 'James', 'Victoria')

    Args:
        path: a folder with `train.tsv`, and `valid.tsv` and `test.tsv` if they exist; `.txt` with tabs and
            `.csv` with commas will do as well. Or one such file, all of which is for training.
        unknown: what to do with a triple of another split with an entity or a relation that no training
            triple has, about which nothing can be learned: "error" names it, "skip" leaves it out
            and reports how many.

    Raises:
        CrlError: the files are missing, or a line has other columns.
    """

    def __init__(self, path: str, unknown: Literal["error", "skip"] = "error") -> None:
        self.path: str | None = path
        self.unknown = unknown
        entities: dict[str, int] = {}
        relations: dict[str, int] = {}
        files = _files(Path(path))
        triples = {}
        for split, file in files.items():
            triples[split] = self._read(file, entities, relations, split == next(iter(files)))
        super().__init__(tuple(entities), tuple(relations), triples)

    def _read(self, file: Path, entities: dict[str, int], relations: dict[str, int], first: bool) -> Tensor:
        numbers = array("q")
        strangers: list[str] = []
        for names in _rows(file):
            head, relation, tail = names
            if first:
                for table, name in ((entities, head), (relations, relation), (entities, tail)):
                    table.setdefault(name, len(table))
            elif head not in entities or relation not in relations or tail not in entities:
                strangers.append(" ".join(names))
                continue
            numbers.extend((entities[head], relations[relation], entities[tail]))
        if strangers:
            text = (
                f"{len(strangers)} triples of {file} name an entity or a relation that no training triple has, "
                f"as does {strangers[0]!r}"
            )
            if self.unknown == "error":
                raise CrlError(f'{text}. unknown="skip" leaves them out')
            log.warning("%s; they were left out", text)
        return torch.tensor(numbers, dtype=torch.int64).view(-1, 3)


def _files(path: Path) -> dict[str, Path]:
    """The file of every split."""
    if path.is_file():
        return {"train": path}
    found: dict[str, Path] = {}
    for split in _SPLITS:
        for ending in _ENDINGS:
            if (file := path / f"{split}{ending}").is_file():
                found.setdefault(split, file)
    if "train" not in found:
        what = "has no train.tsv, train.txt or train.csv" if path.is_dir() else "is neither a file nor a folder"
        raise CrlError(f"{path} {what}")
    return found


def _rows(file: Path) -> Iterator[list[str]]:
    commas = file.suffix == ".csv"
    with file.open(newline="", encoding="utf-8") as lines:
        # In files with tabs a quote is a character like any other.
        table = csv.reader(lines) if commas else (line.rstrip("\r\n").split("\t") for line in lines)
        try:
            for number, names in enumerate(table, 1):
                if names in ([], [""]):
                    continue
                if len(names) != 3 or not all(name.strip() for name in names):
                    raise CrlError(
                        f"{file}, line {number}: expected head, relation, tail with {'commas' if commas else 'tabs'} "
                        f"between them, not {names}"
                    )
                yield names
        except (UnicodeDecodeError, csv.Error) as error:
            raise CrlError(f"{file} is no text with triples: {error}") from None
