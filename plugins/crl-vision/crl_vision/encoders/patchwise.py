from __future__ import annotations

from torch import Tensor, nn

from crl_core import CrlError, Encoder


class Patchwise(nn.Module):
    """Another encoder, for images and for patches of images alike: each by itself, all with the same weights.

    Args:
        encoder: images `[N, C, H, W]` to representations `[N, d]`.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> Tensor:
        """`[N, C, H, W]` to `[N, d]`; patches `[N, L, C, H, W]` to `[N, L, d]`.

        Raises:
            CrlError: the encoder gives several features.
        """
        found = self.encoder(images.flatten(0, -4))
        if not isinstance(found, Tensor):
            raise CrlError(f"{type(self.encoder).__name__} gives several features of a patch: leave out its maps")
        return found.view(*images.shape[:-3], found.shape[-1])
