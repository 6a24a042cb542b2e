from __future__ import annotations

from torch import Tensor, nn

from crl_core import CrlError, Encoder


class Patchwise(nn.Module):
    """Another encoder, for images and for patches of images: each by itself, all with the same weights.

    Images `[N, C, H, W]` to `[N, d]`, patches `[N, L, C, h, w]` to `[N, L, d]`.

    >>> import torch
    >>> from crl_vision.encoders.conv_net import ConvNet
    >>> from crl_vision.encoders.patchwise import Patchwise
    >>> encoder = Patchwise(ConvNet(width=8, stages=2))
    >>> encoder(torch.rand(2, 3, 32, 32)).shape, encoder(torch.rand(2, 9, 3, 16, 16)).shape
    (torch.Size([2, 16]), torch.Size([2, 9, 16]))

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
