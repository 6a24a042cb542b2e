from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from crl_core import CrlError, Embeddings, Table

from ..tokens import Tokens

_SPREAD = 0.02 * 3**0.5  # of numbers with the standard deviation 0.02
_PARTS, _WORTH = 4, 32  # so many parts of a batch by length, of a batch of so many texts


class Transformer(nn.Module):
    """Layers of self-attention over a text's tokens, as in BERT (Devlin et al. 2019): PyTorch's own, from the start.

    Tokens of N texts to `[N, size]` by `pool`, or without it to a vector for each token, `[N, L, size]`, whose column
    `valid` is False for padding. Padding changes nothing: neither attention nor a mean sees it. Places have learned
    vectors. A text without tokens is zeros.

    >>> from crl_language.encoders.transformer import Transformer
    >>> from crl_language.tokens import Tokens
    >>> encoder, texts = Transformer(24, size=32, depth=2), Tokens.of([[5, 6, 7], [8]])
    >>> found = encoder(texts)
    >>> found.z.shape, found.meta["valid"].tolist()
    (torch.Size([2, 3, 32]), [[True, True, True], [True, False, False]])
    >>> Transformer(24, size=32, depth=2, pool="first")(texts).shape
    torch.Size([2, 32])

    Args:
        count: how many different tokens there are, or the word by which the reader counts them: "words", "pieces".
        size: numbers in a vector; BERT-base has 768.
        depth: layers; BERT-base has 12.
        heads: of the attention; they divide the size. BERT-base has 12.
        hidden: width between the two linear maps of a layer; None stands for four times the size.
        longest: tokens that a text may have.
        dropout: the share of numbers that are set to 0 in training.
        pool: "first" for the first token's vector, "mean" for the mean over a text's tokens, None for all of them.

    Raises:
        CrlError: the heads don't divide the size, a number is out of its range, or a text is too long.
    """

    def __init__(
        self,
        count: int | str = "pieces",
        size: int = 256,
        depth: int = 4,
        heads: int = 4,
        hidden: int | None = None,
        longest: int = 128,
        dropout: float = 0.1,
        pool: Literal["first", "mean"] | None = None,
    ) -> None:
        super().__init__()
        if min(size, depth, heads, longest, hidden or 1) < 1 or size % heads:
            raise CrlError(
                f"a Transformer has 1 or more of everything, and heads that divide the size, not size {size}, depth "
                f"{depth}, {heads} heads, hidden {hidden} and longest {longest}"
            )
        if not 0 <= dropout < 1 or pool not in ("first", "mean", None):
            raise CrlError(f'dropout is below 1, and pool "first", "mean" or None, not {dropout} and {pool!r}')
        self.count, self.size, self.depth, self.heads, self.hidden = count, size, depth, heads, hidden
        self.longest, self.dropout, self.pool = longest, dropout, pool
        self.token = Table(count, size, _SPREAD)
        self.place = nn.Parameter(0.02 * torch.randn(longest, size))
        self.start = nn.Sequential(nn.LayerNorm(size), nn.Dropout(dropout))
        # Layer by layer: nn.TransformerEncoder copies one, so that all would begin with the same weights.
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(size, heads, hidden or 4 * size, dropout, "gelu", batch_first=True)
            for _ in range(depth)
        )

    def forward(self, texts: Tokens) -> Tensor | Embeddings:
        """The tokens of N texts to `[N, size]`, or to `[N, L, size]` without `pool`."""
        longest = int(texts.lengths.max()) if len(texts.lengths) else 0
        if longest > self.longest:
            raise CrlError(f"a text has {longest} tokens, and the Transformer knows {self.longest} places")
        if self.pool is None:
            z, valid = self._tokens(texts)
            return Embeddings(z, {"valid": valid})
        # Texts of like lengths go together, which spares most of the padding.
        order = texts.lengths.argsort()
        parts = order.chunk(_PARTS) if len(order) >= _WORTH else [order]
        pooled = torch.cat([self._pooled(texts.take_rows(part)) for part in parts])
        return pooled[order.argsort()]

    def _tokens(self, texts: Tokens) -> tuple[Tensor, Tensor]:
        """A vector for each token, `[N, L, size]`, and where there is one, `[N, L]`."""
        _, valid = texts.padded()
        tokens = self.start(self.token(texts.ids) + self.place[texts.place])
        z = tokens.new_zeros(*valid.shape, self.size)
        z[valid] = tokens
        # Of a text without tokens the first place is looked at, so that attention is over something.
        hidden = ~valid & (torch.arange(valid.shape[1], device=valid.device) > 0)
        for layer in self.layers if len(valid) else ():
            z = layer(z, src_key_padding_mask=hidden)
        return z, valid

    def _pooled(self, texts: Tokens) -> Tensor:
        z, valid = self._tokens(texts)
        return (z[:, 0] if self.pool == "first" else Embeddings(z, {"valid": valid}).mean()) * valid[:, :1]
