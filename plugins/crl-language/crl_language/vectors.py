"""Word vectors of a run, and files of them in word2vec's formats."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import attrs
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from crl_core import CrlError, Pipeline, did_you_mean

_AT_ONCE = 4_096


@attrs.frozen(eq=False, slots=False)
class Vectors:
    """A vector for each of V words.

    >>> import torch
    >>> from crl_language.vectors import Vectors
    >>> vectors = Vectors(["red", "green", "two"], torch.tensor([[1.0, 0.1], [1.0, 0.0], [0.0, 1.0]]))
    >>> vectors.nearest("red", 1)[0][0]
    'green'
    >>> vectors.save("colours.txt")
    >>> Vectors.load("colours.txt")["two"]
    tensor([0., 1.])

    Attributes:
        words: in the order of their rows; of a run, the most frequent first.
        table: `[V, d]`, in float32.

    Raises:
        CrlError: there is not one row for each word.
    """

    words: Sequence[str]
    table: Tensor

    def __attrs_post_init__(self) -> None:
        if self.table.dim() != 2 or len(self.table) != len(self.words):
            raise CrlError(f"{len(self.words)} words, and vectors of shape {list(self.table.shape)}")

    @staticmethod
    def of(pipeline: Pipeline, branch: str | None = None) -> Vectors:
        """Those of a pipeline whose reader is `Words`: what it makes of every word alone, by its first branch or this.

        Raises:
            CrlError: the reader has no list of words.
        """
        words: list[str] | None = getattr(pipeline.reader, "words", None)
        if not words:
            raise CrlError(
                f"a {type(pipeline.reader).__name__} has no list of words: the reader must be a trained Words"
            )
        parts = [pipeline.encode(words[i : i + _AT_ONCE], branch).cpu() for i in range(0, len(words), _AT_ONCE)]
        return Vectors(list(words), torch.cat(parts).float())

    @cached_property
    def _number(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words)}

    @cached_property
    def unit(self) -> Tensor:
        """The vectors with length 1."""
        return F.normalize(self.table, dim=1)

    def __contains__(self, word: str) -> bool:
        return word in self._number

    def __getitem__(self, word: str) -> Tensor:
        return self.table[self.number(word)]

    def number(self, word: str) -> int:
        """The row of a word.

        Raises:
            CrlError: there is no such word.
        """
        if word not in self._number:
            raise CrlError(f"no vector for the word {word!r}.{did_you_mean(word, self.words)}")
        return self._number[word]

    def nearest(self, word: str, count: int = 10) -> list[tuple[str, float]]:
        """The words with the highest cosine to this one, itself left out, and the cosines."""
        number = self.number(word)
        cosine = self.unit @ self.unit[number]
        cosine[number] = -2.0
        value, which = cosine.topk(min(count, len(self.words) - 1))
        return [(self.words[i], float(v)) for i, v in zip(which.tolist(), value, strict=True)]

    def save(self, path: Path | str, binary: bool = False) -> None:
        """Writes a file in word2vec's text format, or in its binary one.

        Raises:
            CrlError: a word is empty or has a space in it, which these formats can't hold; or it can't be written.
        """
        for word in self.words:
            if not word or word.split() != [word]:
                raise CrlError(f"word2vec's formats end a word at a space, so they can't hold {word!r}")
        table = self.table.numpy().astype("<f4")
        try:
            with Path(path).open("wb") as file:
                file.write(f"{len(self.words)} {table.shape[1]}\n".encode())
                for word, row in zip(self.words, table, strict=True):
                    # 9 digits are a float32, exactly.
                    numbers = row.tobytes() if binary else " ".join(f"{value:.9g}" for value in row.tolist()).encode()
                    file.write(word.encode() + b" " + numbers + b"\n")
        except OSError as error:
            raise CrlError(f"{path} can't be written: {error}") from None

    @staticmethod
    def load(path: Path | str, binary: bool = False) -> Vectors:
        """Reads a file in word2vec's text format, or in its binary one.

        Raises:
            CrlError: it can't be read, or is no such file.
        """
        try:
            with Path(path).open("rb") as file:
                count, size = (int(number) for number in file.readline().split())
                rows = [(_binary if binary else _text)(file, size) for _ in range(count)]
        except OSError as error:
            raise CrlError(f"can't read {path}: {error}") from None
        except (ValueError, EOFError) as error:
            raise CrlError(f"{path} is no file of word vectors in word2vec's {_form(binary)} format: {error}") from None
        words = [word for word, _ in rows]
        return Vectors(words, torch.from_numpy(np.stack([row for _, row in rows]).astype(np.float32)))

    def to_gensim(self) -> Any:
        """The same as gensim's `KeyedVectors`, which has to be installed."""
        from gensim.models import KeyedVectors

        made = KeyedVectors(self.table.shape[1])
        made.add_vectors(list(self.words), self.table.numpy())
        return made

    @staticmethod
    def from_gensim(vectors: Any) -> Vectors:
        """Those of gensim's `KeyedVectors`."""
        return Vectors(list(vectors.index_to_key), torch.tensor(vectors.vectors, dtype=torch.float32))


def _form(binary: bool) -> str:
    return "binary" if binary else "text"


def _text(file: BinaryIO, size: int) -> tuple[str, Any]:
    word, *numbers = file.readline().decode("utf-8").rstrip().split(" ")
    if len(numbers) != size:
        raise ValueError(f"{len(numbers)} numbers for the word {word!r}, not {size}")
    return word, np.array(numbers, dtype=np.float32)


def _binary(file: BinaryIO, size: int) -> tuple[str, Any]:
    word = bytearray()
    while (byte := file.read(1)) != b" ":
        if not byte:
            raise EOFError("it ends in the middle of a word")
        if byte != b"\n":  # word2vec.c ends a vector by a line, gensim doesn't
            word += byte
    numbers = file.read(4 * size)
    if len(numbers) < 4 * size:
        raise EOFError(f"it ends in the middle of the vector of {word.decode()!r}")
    return word.decode("utf-8"), np.frombuffer(numbers, dtype="<f4")
