from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

import crl_core as crl


class WordVectors(crl.Table):
    """A vector for each word, and zeros where there is no word.

    Words `[…]`, -1 for none, to vectors `[…, size]`. A mapping has the words as `words`; its other entries go on to
    the head, with `vectors` and `there` `[…]`, which is True where there is a word.

    >>> import torch
    >>> from crl_language.encoders.word_vectors import WordVectors
    >>> words = WordVectors(24, 4)
    >>> words(torch.tensor([[3, -1]])).z[0, 1]
    tensor([0., 0., 0., 0.], grad_fn=<SelectBackward0>)

    Args:
        count: how many words there are; "words" takes the number from the reader.
        size: numbers in a vector.
        bound: vectors are initialised uniformly from -bound to bound; None stands for word2vec's ½/size.
        bias: one more number for each word, the last one, which begins at -log count: then all words are as likely.
        sparse: gradients hold only the rows of the batch, for optimisers that take these.
    """

    formerly: ClassVar[tuple[str, ...]] = ()
    renamed: ClassVar[dict[str, str]] = {}

    def __init__(
        self,
        count: int | str = "words",
        size: int = 100,
        bound: float | None = None,
        bias: bool = False,
        sparse: bool = True,
    ) -> None:
        self.bias = bias
        super().__init__(count, size, bound, sparse=sparse)
        if bias and not self.made:
            self.width = size + 1

    def make(self, rows: int) -> None:
        self.width = self.size + self.bias
        super().make(rows)

    def start(self, weight: Tensor) -> None:
        bound = 0.5 / self.size if self.bound is None else self.bound
        weight.uniform_(-bound, bound)
        if self.bias:
            weight[:, -1] = -math.log(len(weight))

    def forward(self, data: Any) -> crl.Embeddings:  # type: ignore[override]
        words, others = (data["words"], dict(data)) if isinstance(data, Mapping) else (data, {})
        others.pop("words", None)
        there = words >= 0
        # A compiler can't follow what the data decide.
        if not torch.compiler.is_compiling() and bool(there.all()):
            vectors = self.rows(words)
        else:
            vectors = self.rows(words.clamp(min=0)).masked_fill(~there.unsqueeze(-1), 0.0)
        return crl.Embeddings(vectors, {}, {"vectors": vectors, "there": there, **others})
