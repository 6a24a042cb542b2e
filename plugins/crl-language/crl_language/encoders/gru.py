from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from crl_core import CrlError, Table

from ..tokens import Tokens


class GRU(nn.Module):
    """A gated recurrent network over a text's tokens, in both directions; its last states are the text's vector.

    Tokens of N texts to `[N, size]`, half of which is of each direction (Cho et al. 2014; QuickThought, Logeswaran and
    Lee 2018). Padding is not read. A text without tokens is zeros.

    >>> from crl_language.encoders.gru import GRU
    >>> from crl_language.tokens import Tokens
    >>> GRU(24, size=32)(Tokens.of([[5, 6, 7], [8]])).shape
    torch.Size([2, 32])

    Args:
        count: how many different tokens there are, or the word by which the reader counts them: "words", "pieces".
        size: numbers in a text's vector.
        width: numbers in a token's vector; None stands for as many.
        both: whether it reads in both directions, or from left to right.

    Raises:
        CrlError: a number is below 1, or the size is odd with two directions.
    """

    def __init__(
        self, count: int | str = "words", size: int = 256, width: int | None = None, both: bool = True
    ) -> None:
        super().__init__()
        if size < 1 or (width or 1) < 1 or (both and size % 2):
            raise CrlError(f"sizes are 1 or more, and even with two directions, not {size} and {width}")
        self.count, self.size, self.width, self.both = count, size, width, both
        self.token = Table(count, width or size, 0.1)
        self.layer = nn.GRU(width or size, size // 2 if both else size, batch_first=True, bidirectional=both)

    def forward(self, texts: Tokens) -> Tensor:
        """The tokens of N texts to `[N, size]`."""
        ids, valid = texts.padded()
        if not len(ids):
            return self.token.weight.new_zeros(0, self.size)
        length = texts.lengths.clamp(min=1).cpu()  # an empty text has one token of padding, and is set to 0
        packed = pack_padded_sequence(self.token(ids), length, batch_first=True, enforce_sorted=False)
        _, last = self.layer(packed)
        z: Tensor = torch.cat(list(last), dim=1)
        return z * valid[:, :1]
