from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Lazy(nn.Module):
    """A part whose layers are made for the width of the first data it meets, or of the weights it loads.

    >>> import torch
    >>> import crl_core as crl
    >>> class Doubled(crl.Lazy):
    ...     def build(self, width):
    ...         self.layer = torch.nn.Linear(width, 2 * width)
    ...     def forward(self, features):
    ...         self.ensure_built(features)
    ...         return self.layer(features)
    >>> Doubled()(torch.randn(4, 3)).shape
    torch.Size([4, 6])
    """

    def __init__(self) -> None:
        super().__init__()
        self.width: int | None = None

    def build(self, width: int) -> None:
        """Makes the parameters for inputs `[…, width]`."""
        raise NotImplementedError

    def ensure_built(self, data: Tensor) -> None:
        if self.width is None:
            self.width = data.shape[-1]
            self.build(self.width)
            # Parameters are always float32, also where autocast hands over bfloat16.
            self.to(data.device, data.dtype if data.dtype == torch.float64 else None)
            self.train(self.training)  # new layers begin in training mode, whatever theirs is

    def get_extra_state(self) -> Tensor:
        return torch.tensor(self.width or 0)

    def set_extra_state(self, state: Tensor) -> None:
        """The width was read before the weights were."""

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        width = int(state_dict.get(f"{prefix}_extra_state", 0))
        if self.width is None and width:
            self.width = width
            self.build(width)
        super()._load_from_state_dict(state_dict, prefix, *args)
