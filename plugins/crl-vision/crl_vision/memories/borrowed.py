from __future__ import annotations

from torch import nn

from crl_core import Embeddings, Memory


class Borrowed(nn.Module):
    """What another contrast's memory holds, without adding to it.

    So several kinds of queries meet the same bank, which one of them fills (PIRL, Misra and van der Maaten 2020).

    Args:
        memory: the very memory of the other contrast.
    """

    def __init__(self, memory: Memory) -> None:
        super().__init__()
        self.memory = memory

    def keys(self) -> Embeddings | None:
        return self.memory.keys()

    def update(self, keys: Embeddings) -> None:
        """Does nothing: the other contrast brings its keys."""
