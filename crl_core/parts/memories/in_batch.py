from __future__ import annotations

from torch import nn

from ...protocols import Embeddings


class InBatch(nn.Module):
    """No memory: the keys of the batch alone (end-to-end, section III-C)."""

    def keys(self) -> Embeddings | None:
        return None

    def update(self, keys: Embeddings) -> None:
        pass
