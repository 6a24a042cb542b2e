from __future__ import annotations

import io
import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from crl_core import CrlError, Items, Source, View

from ..text import check_text, every_text
from ..tokens import Tokens

log = logging.getLogger("crl")
_FILE = "pieces.model"
PAD, UNKNOWN, BEGIN, END, MASK = range(5)
"""The numbers of the tokens that are no pieces of text."""


class Pieces:
    """Texts as pieces of words by sentencepiece (Kudo and Richardson 2018), whose model is learned from the source.

    The model is saved with the run, and travels with an export. The first five numbers are padding, an unknown piece,
    the begin and the end of a text, and a mask. A text longer than `longest` is cut; how many were is in the log.

    >>> import crl_core as crl
    >>> from crl_language.readers.pieces import Pieces
    >>> reader = Pieces(size=40)
    >>> reader.on_source(crl.InMemory(["the cat sat on the mat", "the dog sat on the log"] * 10), None)
    >>> tokens = reader(["the cat"]).data
    >>> reader.texts(tokens)
    ['the cat']

    Args:
        size: how many pieces there are, at most; few texts give fewer.
        longest: tokens of a text, its begin and end among them.
        model: a sentencepiece model's file, instead of learning one; its special tokens have its own numbers.

    Raises:
        CrlError: an item is no text, the file can't be read, or there is nothing to learn from.
    """

    def __init__(self, size: int = 8_000, longest: int = 128, model: str | None = None) -> None:
        if size < 8 or longest < 3:
            raise CrlError(f"there are 8 pieces or more, of texts of 3 tokens or more, not {size} and {longest}")
        self.size, self.longest, self.model = size, longest, model
        self.cut = 0
        """How many texts were too long."""
        self._proto = b""
        if model is not None:
            try:
                self._proto = Path(model).read_bytes()
            except OSError as error:
                raise CrlError(f"can't read the sentencepiece model {model}: {error}") from None

    @cached_property
    def processor(self) -> Any:
        from sentencepiece import SentencePieceProcessor

        if not self._proto:
            raise CrlError("Pieces has not learned its model yet: call pipeline.build(batch, source), or fit")
        return SentencePieceProcessor(model_proto=self._proto)

    @property
    def counts(self) -> dict[str, int]:
        return {"pieces": self.processor.get_piece_size()}

    def on_source(self, items: Items, source: Source) -> None:
        if self._proto:
            return
        from sentencepiece import SentencePieceTrainer

        written = io.BytesIO()
        texts = (text for text in every_text(items) if text.strip())
        try:
            SentencePieceTrainer.train(
                sentence_iterator=texts, model_writer=written, vocab_size=self.size, hard_vocab_limit=False,
                pad_id=PAD, unk_id=UNKNOWN, bos_id=BEGIN, eos_id=END, user_defined_symbols=["<mask>"],
                character_coverage=0.9995, minloglevel=2, num_threads=1,
                input_sentence_size=500_000, shuffle_input_sentence=False,
            )  # fmt: skip
        except (RuntimeError, OSError) as error:
            raise CrlError(f"sentencepiece can't learn {self.size} pieces from these texts: {error}") from error
        self._proto = written.getvalue()

    def __call__(self, items: Sequence[Any]) -> View:
        for text in items:
            check_text(text)
        inner = self.longest - 2
        begin, end = self.processor.bos_id(), self.processor.eos_id()
        found = self.processor.encode(list(items)) if items else []
        if long := sum(len(ids) > inner for ids in found):
            self.cut += long
            log.info("%d of %d texts are cut to %d tokens", long, len(found), self.longest)
        texts = [[begin, *ids[:inner], end] for ids in found]
        return View(Tokens.of(texts), {"instance": torch.arange(len(texts))})

    def texts(self, tokens: Tokens) -> list[str]:
        """The texts again, as far as their pieces are known."""
        found: list[str] = self.processor.decode([ids.tolist() for ids in tokens.ids.split(tokens.lengths.tolist())])
        return found

    def files(self) -> dict[str, bytes]:
        return {_FILE: self._proto} if self._proto else {}

    def load_files(self, files: Mapping[str, bytes]) -> None:
        self._proto = files[_FILE]
        self.__dict__.pop("processor", None)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "processor"}
