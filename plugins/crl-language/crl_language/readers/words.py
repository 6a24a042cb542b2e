from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from crl_core import CrlError, Items, Source, View

from ..text import check_text, every_text
from ..tokens import Tokens

_FILE = "words.json"
_WORD = re.compile(r"\w+(?:['’]\w+)*")


class Words:
    """Texts as words of a vocabulary, which is learned from the training items.

    Words are numbered from the most frequent, 0, on. Words that are not in the vocabulary are left out. The vocabulary
    is saved with the run, and travels with an export.

    >>> import crl_core as crl
    >>> from crl_language.readers.words import Words
    >>> reader = Words()
    >>> reader.on_source(crl.InMemory(["the cat sat", "the dog sat", "the end"]), None)
    >>> reader.words, reader(["The dog! A dog?"]).data.ids.tolist()
    (['the', 'sat', 'cat', 'dog', 'end'], [0, 3, 3])

    Args:
        min_count: words that occur less often are left out.
        most: at most so many words; the most frequent stay.
        lower: whether `The` and `the` are one word.

    Raises:
        CrlError: an item is no text, or no word occurs often enough.
    """

    def __init__(self, min_count: int = 1, most: int | None = None, lower: bool = True) -> None:
        if min_count < 1 or (most is not None and most < 1):
            raise CrlError(f"min_count and most are 1 or more, not {min_count} and {most}")
        self.min_count, self.most, self.lower = min_count, most, lower
        self.words: list[str] = []
        self.frequency: list[int] = []
        """How often each word occurs in the training items."""
        self._number: dict[str, int] = {}

    @property
    def counts(self) -> dict[str, int]:
        return {"words": len(self.words)}

    def on_source(self, items: Items, source: Source) -> None:
        if self.words:
            return  # learned before, as its files say
        found: Counter[str] = Counter()
        for text in every_text(items):
            found.update(self.split(text))
        kept = [(word, count) for word, count in found.items() if count >= self.min_count]
        kept.sort(key=lambda pair: (-pair[1], pair[0]))
        if not kept:
            raise CrlError(
                f"of {len(found)} words none occurs {self.min_count} times: lower min_count, or give more texts"
            )
        self._take([word for word, _ in kept[: self.most]], [count for _, count in kept[: self.most]])

    def _take(self, words: list[str], frequency: list[int]) -> None:
        self.words, self.frequency = words, frequency
        self._number = {word: number for number, word in enumerate(words)}

    def split(self, text: str) -> list[str]:
        """The words of a text, known or not."""
        return _WORD.findall(text.lower() if self.lower else text)

    def number(self, word: str) -> int | None:
        """The number of a word; None for one that is not in the vocabulary."""
        return self._number.get(word.lower() if self.lower else word)

    def __call__(self, items: Sequence[Any]) -> View:
        if not self.words:
            raise CrlError("Words doesn't know its vocabulary yet: call pipeline.build(batch, source), or fit")
        for text in items:
            check_text(text)
        number = self._number
        texts = [[number[word] for word in self.split(text) if word in number] for text in items]
        return View(Tokens.of(texts), {"instance": torch.arange(len(texts))})

    def files(self) -> dict[str, bytes]:
        if not self.words:
            return {}
        return {_FILE: json.dumps({"words": self.words, "frequency": self.frequency}, ensure_ascii=False).encode()}

    def load_files(self, files: Mapping[str, bytes]) -> None:
        found = json.loads(files[_FILE])
        self._take(found["words"], found["frequency"])
