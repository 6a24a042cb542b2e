"""What the recipes are for: a corpus of words, or sentences in pieces."""

from __future__ import annotations

from typing import Any

import attrs

import crl_core as crl

from .readers.pieces import Pieces
from .readers.words import Words
from .sources.docstrings import Docstrings
from .sources.neighbouring import Neighbouring


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
        pieces: how many pieces the reader learns.
        longest: tokens of a text; longer ones are cut.
    """

    source: crl.Source = attrs.field(factory=Docstrings)
    pieces: int = 8_000
    longest: int = 64

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
