from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Stored(nn.Module):
    """Buffers whose names and sizes depend on the data: made when keys come in, or when a state is loaded."""

    _place: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Nothing, on the device to which the memory has been moved before it holds anything.
        self.register_buffer("_place", torch.empty(0), persistent=False)

    @property
    def stored(self) -> dict[str, Tensor]:
        """The buffers by name; empty at first."""
        return {name: self.get_buffer(name) for name in self._buffers if name != "_place"}

    def store(self, **tensors: Tensor) -> None:
        """Makes these the buffers of their names."""
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for name in self.stored:
            del self._buffers[name]
        for key, tensor in state_dict.items():
            name = key.removeprefix(prefix)
            if key.startswith(prefix) and "." not in name and name != "_extra_state":
                self.register_buffer(name, torch.empty_like(tensor, device=self._place.device))
        super()._load_from_state_dict(state_dict, prefix, *args)
