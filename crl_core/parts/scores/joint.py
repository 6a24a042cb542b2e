from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ..heads.mlp import perceptron
from ..lazy import Lazy


class Joint(Lazy):
    """A perceptron on each pair: [query, key] to one number.

    Queries `[N, D]` and keys `[M, D]` to scores `[N, M]`; or keys per query `[N, K, D]` to `[N, K]`. It is no product
    of two tables, so it costs N·M passes through the perceptron.

    >>> import torch
    >>> import crl_core as crl
    >>> score = crl.Joint(hidden=16)
    >>> score(torch.randn(4, 8), torch.randn(6, 8)).shape
    torch.Size([4, 6])
    >>> score.layers[0].in_features  # a query and a key
    16

    Args:
        hidden: width of the hidden layers; None stands for the width of the pair.
        depth: linear layers in all.

    Raises:
        ValueError: the depth is below 1.
    """

    measures: ClassVar[str] = "similarity"

    def __init__(self, hidden: int | None = None, depth: int = 2) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"a perceptron has at least 1 layer, not {depth}")
        self.hidden, self.depth = hidden, depth

    def build(self, width: int) -> None:
        self.layers = perceptron(2 * width, self.hidden or 2 * width, 1, self.depth, norm=False)

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        self.ensure_built(query)
        if query.dim() == 2:
            query, key = query.unsqueeze(1), key.unsqueeze(0)
        query, key = torch.broadcast_tensors(query, key)
        values: Tensor = self.layers(torch.cat([query, key], -1))
        return values.squeeze(-1)
