from __future__ import annotations

from collections.abc import Sequence

import torch

from crl_core import View


class Bytes:
    """Texts as the numbers of their bytes `[N, length]`, cut or padded with 0.

    Args:
        length: the length of each text in bytes.
    """

    def __init__(self, length: int = 32) -> None:
        if length < 1:
            raise ValueError(f"length is at least 1 byte, not {length}")
        self.length = length

    def __call__(self, items: Sequence[str]) -> View:
        data = torch.zeros(len(items), self.length, dtype=torch.int64)
        for row, text in zip(data, items, strict=True):
            held = text.encode()[: self.length]
            row[: len(held)] = torch.tensor(list(held), dtype=torch.int64)
        return View(data, {"instance": torch.arange(len(items))})
