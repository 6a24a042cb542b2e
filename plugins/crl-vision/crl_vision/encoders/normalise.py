from __future__ import annotations

import torch
from torch import Tensor, nn

from crl_core import CrlError


class Normalise(nn.Module):
    """Images from 0 to 1, normalised; inside the encoder, so that an exported one is whole."""

    def __init__(self, channels: int, mean: float, std: float) -> None:
        super().__init__()
        if channels < 1:
            raise ValueError(f"channels is at least 1, not {channels}")
        if not std > 0:
            raise ValueError(f"std is above 0, not {std}")
        self.channels, self.mean, self.std = channels, mean, std

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[1] != self.channels:
            raise CrlError(
                f"this encoder takes images with {self.channels} channels, and these have {images.shape[1]}: "
                f"make it with channels={images.shape[1]}"
            )
        # With the channels last in memory, convolutions are quicker, on CPUs and with bfloat16 on GPUs.
        return ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
