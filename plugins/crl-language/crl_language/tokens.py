"""Texts as numbers of tokens, one after the other, without padding."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import torch
from torch import Tensor

from crl_core import CrlError


@attrs.frozen(eq=False)
class Tokens:
    """N texts of different lengths, packed.

    >>> from crl_language.tokens import Tokens
    >>> texts = Tokens.of([[5, 6, 7], [8]])
    >>> texts.row.tolist(), texts.padded()[0].tolist()
    ([0, 0, 0, 1], [[5, 6, 7], [8, 0, 0]])

    Attributes:
        ids: `[T]`, the tokens of all texts, one text after the other.
        lengths: `[N]`, how many tokens each text has.

    Raises:
        CrlError: the lengths don't add up to the number of tokens.
    """

    ids: Tensor
    lengths: Tensor

    def __attrs_post_init__(self) -> None:
        if self.ids.dim() != 1 or self.lengths.dim() != 1:
            raise CrlError(f"tokens are [T] and lengths [N], not {list(self.ids.shape)} and {list(self.lengths.shape)}")

    @staticmethod
    def of(texts: Sequence[Sequence[int]]) -> Tokens:
        """Texts that are lists of tokens."""
        ids = [token for text in texts for token in text]
        return Tokens(torch.tensor(ids, dtype=torch.int64), torch.tensor([len(text) for text in texts]).long())

    @property
    def start(self) -> Tensor:
        """`[N]`, where each text begins in `ids`."""
        return self.lengths.cumsum(0) - self.lengths

    @property
    def row(self) -> Tensor:
        """`[T]`, the number of each token's text."""
        return torch.repeat_interleave(torch.arange(len(self.lengths), device=self.ids.device), self.lengths)

    @property
    def place(self) -> Tensor:
        """`[T]`, the place of each token in its text, from 0."""
        return torch.arange(len(self.ids), device=self.ids.device) - self.start[self.row]

    def padded(self, fill: int = 0) -> tuple[Tensor, Tensor]:
        """The tokens as `[N, L]`, and a bool `[N, L]` that is True where there is one."""
        longest = max(1, int(self.lengths.max())) if len(self.lengths) else 1
        valid = torch.arange(longest, device=self.ids.device) < self.lengths.unsqueeze(1)
        ids = self.ids.new_full(valid.shape, fill)
        ids[valid] = self.ids
        return ids, valid

    # -- rows, as `crl_core.Rows` has them ---------------------------------------------------------

    def row_count(self) -> int:
        return len(self.lengths)

    def take_rows(self, index: Tensor) -> Tokens:
        index = index.to(self.ids.device)
        lengths = self.lengths[index]
        first = torch.repeat_interleave(self.start[index] - (lengths.cumsum(0) - lengths), lengths)
        return Tokens(self.ids[first + torch.arange(len(first), device=first.device)], lengths)

    def join_rows(self, others: Sequence[Tokens]) -> Tokens:
        every = [self, *others]
        return Tokens(torch.cat([one.ids for one in every]), torch.cat([one.lengths for one in every]))

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Tokens:
        return Tokens(
            self.ids.to(device, non_blocking=non_blocking), self.lengths.to(device, non_blocking=non_blocking)
        )
