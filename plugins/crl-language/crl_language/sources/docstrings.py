from __future__ import annotations

import ast
import re
import sysconfig
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import ClassVar

import torch

from crl_core import InMemory, check_split

_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_SHORTEST = 4  # words
_Row = tuple[str, int, int]
_LEFT_OUT = {"test", "tests", "idlelib", "lib2to3", "site-packages", "__pycache__"}


class Docstrings:
    """Sentences from the docstrings of Python's own standard library: real text on every machine, without a download.

    The columns are `document`, the number of the docstring, and `label`, the number of the module. The last tenth of
    each module's sentences is held out. Which sentences there are depends on the version of Python.

    >>> from crl_language.sources.docstrings import Docstrings
    >>> items = Docstrings().items("train")
    >>> len(items) > 5_000, items.__getitems__([0]).data[0].isascii()
    (True, True)
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "test")

    def items(self, split: str) -> InMemory:
        check_split(split, self.splits)
        found = [row for rows in _sentences() for row in _share(rows, split)]
        texts = [text for text, _, _ in found]
        columns = torch.tensor([(document, label) for _, document, label in found])
        return InMemory(texts, {"document": columns[:, 0], "label": columns[:, 1]})


def _share(rows: list[_Row], split: str) -> list[_Row]:
    held_out = len(rows) // 10
    return rows[:-held_out] if split == "train" else rows[-held_out:]


@cache
def _sentences() -> list[list[_Row]]:
    """The sentences of each module, with the numbers of docstring and module."""
    found: list[list[_Row]] = []
    document = 0
    library = Path(sysconfig.get_path("stdlib"))
    for path in sorted([*library.glob("*.py"), *library.glob("*/*.py")]):
        if _LEFT_OUT & set(path.relative_to(library).parts):
            continue
        rows: list[_Row] = []
        for text in _docstrings(path):
            sentences = [sentence.split() for sentence in _SENTENCE.split(text)]
            rows += [(" ".join(words), document, len(found)) for words in sentences if len(words) >= _SHORTEST]
            document += 1
        if len(rows) >= 10:
            found.append(rows)
    return found


def _docstrings(path: Path) -> Iterator[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError, OSError):
        return
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node)
            if text and text.isascii() and ">>>" not in text:
                yield text
