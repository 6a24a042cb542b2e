from __future__ import annotations

import torch
from torch import Tensor, nn

from crl_core import Lazy


class Pooler(Lazy):
    """A linear map and tanh, as wide as its input: BERT's pooler, which SimCSE trains with and leaves out afterwards.

    `[…, width]` to `[…, width]`.

    >>> import torch
    >>> from crl_language.heads.pooler import Pooler
    >>> bool(Pooler()(torch.randn(4, 8)).abs().max() <= 1)
    True
    """

    def build(self, width: int) -> None:
        self.layer = nn.Linear(width, width)

    def forward(self, features: Tensor) -> Tensor:
        """`[…, width]` to `[…, width]`."""
        self.ensure_built(features)
        return torch.tanh(self.layer(features))
