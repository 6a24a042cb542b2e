from __future__ import annotations

from torch import Tensor, nn

from crl_core.protocols import Encoder


class Patchwise(nn.Module):
    """Another encoder, for images and for patches of images alike: each by itself, all with the same weights.

    Args:
        encoder: images `[N, C, H, W]` to representations `[N, d]`.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> Tensor:
        """`[N, C, H, W]` to `[N, d]`; patches `[N, L, C, H, W]` to `[N, L, d]`."""
        found: Tensor = self.encoder(images.flatten(0, -4))
        return found.unflatten(0, images.shape[:-3])
