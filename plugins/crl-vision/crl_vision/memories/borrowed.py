from __future__ import annotations

from torch import nn

from crl_core import Embeddings, Memory


class Borrowed(nn.Module):
    """Another contrast's memory, read but not written.

    For several kinds of queries against the same bank, which one contrast fills (PIRL, Misra and van der Maaten 2020).

    >>> import torch
    >>> import crl_core as crl
    >>> from crl_vision.memories.borrowed import Borrowed
    >>> bank = crl.Bank(size=10)
    >>> bank.update(crl.Embeddings(torch.eye(2), {"instance": torch.tensor([3, 5])}))
    >>> Borrowed(bank).keys().meta["instance"]
    tensor([3, 5])

    Args:
        memory: the memory of the other contrast, the same object.
    """

    def __init__(self, memory: Memory) -> None:
        super().__init__()
        self.memory = memory

    def keys(self) -> Embeddings | None:
        return self.memory.keys()

    def update(self, keys: Embeddings) -> None:
        """Does nothing: the other contrast brings its keys."""
