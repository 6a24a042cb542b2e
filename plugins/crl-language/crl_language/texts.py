"""What the recipes are for: a corpus of words, or sentences in pieces."""

from __future__ import annotations

from typing import Any, Literal

import attrs

import crl_core as crl

from .encoders.transformer import Transformer
from .readers.pieces import Pieces
from .readers.words import Words
from .sources.docstrings import Docstrings
from .sources.neighbouring import Neighbouring

DOCSTRINGS = {"epochs": 4, "batch_size": 128, "optimiser": crl.AdamW(2e-3, weight_decay=0.01)}
"""How the preset `docstrings` trains a network from the start: soon done on a CPU, for thousands of sentences."""


@attrs.frozen(eq=False, slots=False)
class Corpus:
    """Texts as words. Its fields are settings of the run: `--set source=…`, `min_count=…`.

    Args:
        source: of texts; sentences of Python's own documentation, which need no download, by default.
        min_count: words that occur less often are left out.
    """

    source: crl.Source = attrs.field(factory=Docstrings)
    min_count: int = 5

    def recipe(self, training: crl.Training, **pipeline: Any) -> crl.Recipe:
        """The recipe of a method for this corpus; `pipeline` is what `crl.Pipeline` takes."""
        return crl.Recipe(crl.Pipeline(reader=Words(self.min_count), **pipeline), self.source, training)


@attrs.frozen(eq=False, slots=False)
class Sentences:
    """Texts as pieces of words. Its fields are settings of the run: `--set source=…`, `pieces=…`.

    Args:
        source: of texts; sentences of Python's own documentation, which need no download, by default.
        encoder: by default a Transformer of 2 layers, 128 wide. BERT-base has 12, 768 wide:
            `encoder=language/transformer encoder.size=768 encoder.depth=12 encoder.heads=12`.
        pieces: how many pieces the reader learns.
        longest: tokens of a text; longer ones are cut.
    """

    source: crl.Source = attrs.field(factory=Docstrings)
    encoder: crl.Encoder | None = None
    pieces: int = 8_000
    longest: int = 64

    def network(self, pool: Literal["first", "mean"]) -> crl.Encoder:
        """The encoder: as given, or a small network, so that a first run takes minutes anywhere."""
        if self.encoder is not None:
            return self.encoder
        return Transformer("pieces", size=128, depth=2, longest=self.longest, pool=pool)

    def recipe(self, training: crl.Training, **pipeline: Any) -> crl.Recipe:
        """The recipe of a method for these texts; `pipeline` is what `crl.Pipeline` takes."""
        return crl.Recipe(crl.Pipeline(reader=Pieces(self.pieces, self.longest), **pipeline), self.source, training)


@attrs.frozen(eq=False, slots=False)
class TextPairs(Sentences):
    """Pairs of texts, as pieces of words. Its fields are settings of the run: `--set source=…`, `pieces=…`.

    Args:
        source: of pairs, such as `Parallel`; or of texts, whose neighbours in one document are pairs. Sentences of
            Python's own documentation, which need no download, by default.
    """

    def recipe(self, training: crl.Training, **pipeline: Any) -> crl.Recipe:
        """The recipe of a method for these pairs; `pipeline` is what `crl.Pipeline` takes."""
        made = super().recipe(training, **pipeline)
        return attrs.evolve(made, source=self.of_pairs)

    @property
    def of_pairs(self) -> crl.Source:
        """The source, or the neighbours in it where its items are single texts."""
        first: Any = self.source.items(self.source.splits[0])
        single = hasattr(first, "__getitems__") and isinstance(first.__getitems__([0]).data, list)
        return Neighbouring(self.source) if single else self.source
