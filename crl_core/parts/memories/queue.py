from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...errors import CrlError
from ...protocols import Embeddings


class Queue(nn.Module):
    """The last `size` keys with their metadata: first in, first out (He et al. 2020, MoCo).

    Any size goes with any batch.
    """

    def __init__(self, size: int = 65_536) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"a queue holds at least 1 key, not {size}")
        self.size = size
        self.z: Tensor
        self.filled = self.next = 0

    def keys(self) -> Embeddings | None:
        if not self.filled:
            return None
        return Embeddings(self.z[: self.filled], {name: self._column(name)[: self.filled] for name in self._names()})

    @torch.no_grad()
    def update(self, keys: Embeddings) -> None:
        if "z" not in self._buffers:
            self._allocate(keys.z, dict(keys.meta))
        if set(keys.meta) != set(self._names()):
            raise CrlError(
                f"the queue holds keys with the columns {', '.join(sorted(self._names()))}; "
                f"these have {', '.join(sorted(keys.meta))}"
            )
        count = min(len(keys), self.size)
        places = torch.arange(self.next, self.next + count, device=self.z.device) % self.size
        self.z[places] = keys.z[-count:].to(self.z.dtype)
        for name in self._names():
            self._column(name)[places] = keys.meta[name][-count:]
        self.next = (self.next + count) % self.size
        self.filled = min(self.filled + count, self.size)

    def _allocate(self, z: Tensor, meta: dict[str, Tensor]) -> None:
        for name, like in {"z": z, **{f"meta_{name}": column for name, column in meta.items()}}.items():
            self.register_buffer(name, like.new_zeros(self.size, *like.shape[1:]))

    def _names(self) -> list[str]:
        return [name.removeprefix("meta_") for name in self._buffers if name.startswith("meta_")]

    def _column(self, name: str) -> Tensor:
        return self.get_buffer(f"meta_{name}")

    def get_extra_state(self) -> Tensor:
        return torch.tensor([self.filled, self.next])

    def set_extra_state(self, state: Tensor) -> None:
        self.filled, self.next = state.tolist()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        held = {
            name: t for name, t in state_dict.items() if name.startswith(prefix) and not name.endswith("_extra_state")
        }
        if "z" not in self._buffers and held:
            stored = {name.removeprefix(prefix): tensor for name, tensor in held.items()}
            z = stored.pop("z")
            self._allocate(z, {name.removeprefix("meta_"): column for name, column in stored.items()})
        super()._load_from_state_dict(state_dict, prefix, *args)
