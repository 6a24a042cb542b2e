"""Images that are all in memory."""

from __future__ import annotations

import torch
from torch import Tensor

from crl_core import CrlError, View, did_you_mean


class Images:
    """Images `[N, C, H, W]` with columns `[N]`, fetched by index."""

    def __init__(self, data: Tensor, columns: dict[str, Tensor]) -> None:
        if not len(data):
            raise CrlError("there are no images")
        self.data = data
        self.columns = {"instance": torch.arange(len(data)), **columns}

    def __len__(self) -> int:
        return len(self.data)

    def __getitems__(self, indices: list[int]) -> View:
        index = torch.tensor(indices)
        return View(self.data[index], {name: column[index] for name, column in self.columns.items()})


def split_of(split: str, splits: tuple[str, ...]) -> str:
    if split not in splits:
        raise CrlError(f"no split {split!r}; there are {', '.join(splits)}.{did_you_mean(split, splits)}")
    return split
