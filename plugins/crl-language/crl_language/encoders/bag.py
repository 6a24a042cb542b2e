from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from crl_core import CrlError, Numbered

from ..tokens import Tokens


class Bag(Numbered):
    """The mean of the vectors of a text's tokens: word order counts for nothing, and a text takes microseconds.

    Tokens of N texts to `[N, size]`. A text without tokens is zeros.

    >>> from crl_language.encoders.bag import Bag
    >>> from crl_language.tokens import Tokens
    >>> bag, texts = Bag(24, 64), Tokens.of([[5, 6, 7], [8], [7, 6, 5]])
    >>> z = bag(texts)
    >>> z.shape, bool((z[0] - z[2]).abs().max() < 1e-6)
    (torch.Size([3, 64]), True)

    Args:
        count: how many different tokens there are, or the word by which the reader counts them: "words", "pieces".
        size: numbers in a vector.
        special: tokens below this number are no words, and are left out: of `Pieces` the first 5.
        deviation: the standard deviation of the numbers at the start.
        sparse: gradients hold only the rows of the batch; for optimisers that take sparse gradients.

    Raises:
        CrlError: a number is out of its range, or a token is none of the table's.
    """

    def __init__(
        self,
        count: int | str = "pieces",
        size: int = 256,
        special: int = 0,
        deviation: float = 1.0,
        sparse: bool = False,
    ) -> None:
        super().__init__(count, size, sparse)
        if special < 0 or not deviation > 0:
            raise CrlError(f"special is 0 or more and the deviation above 0, not {special} and {deviation}")
        self.size, self.special, self.deviation = size, special, deviation
        if isinstance(count, int):
            self.make(count)

    def start(self, weight: Tensor) -> None:
        weight.normal_(0.0, self.deviation)

    def forward(self, texts: Tokens) -> Tensor:
        """The tokens of N texts to `[N, size]`."""
        self.check_made()
        share = self._share(texts)
        try:
            return F.embedding_bag(
                texts.ids, self.weight, texts.start, mode="sum", sparse=self.sparse, per_sample_weights=share
            )
        except (IndexError, RuntimeError) as error:
            if not len(texts.ids) or 0 <= int(texts.ids.min()) <= int(texts.ids.max()) < len(self.weight):
                raise
            raise self.no_such_row(texts.ids) from error

    def _share(self, texts: Tokens) -> Tensor:
        """Of each token its share of the mean, `[T]`; 0 for those that are no words."""
        row = texts.row
        counts = (texts.ids >= self.special).to(self.weight.dtype)
        words = torch.zeros(len(texts.lengths), dtype=counts.dtype, device=counts.device).index_add_(0, row, counts)
        return counts / words.clamp(min=1)[row]
