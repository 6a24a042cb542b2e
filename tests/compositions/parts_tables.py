"""Memories that hold tables whose size only the data tell."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class Tables(nn.Module):
    """Buffers that are empty at first, and take the size of what is assigned to them or loaded into them."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        for name in names:
            self.register_buffer(name, torch.empty(0))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for name in self._buffers:
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name]))
        super()._load_from_state_dict(state_dict, prefix, *args)
