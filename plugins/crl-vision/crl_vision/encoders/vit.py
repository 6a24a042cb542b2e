from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from crl_core import CrlError

from .normalise import Normalise


class ViT(nn.Module):
    """torchvision's vision transformer without its classifier (Dosovitskiy et al. 2021), with random weights.

    `[N, channels, size, size]` to its class token `[N, width]`. The defaults are a small one for images of 32 pixels.
    ViT-B/16 is size=224, patch=16, depth=12, width=768, heads=12.

    >>> import torch
    >>> from crl_vision.encoders.vit import ViT
    >>> encoder = ViT(size=32, patch=4, depth=1, places=True)
    >>> {name: tuple(feature.shape) for name, feature in encoder(torch.rand(2, 3, 32, 32)).items()}
    {'places': (2, 64, 192), 'token': (2, 192)}

    Args:
        size: height and width of the images, in pixels.
        patch: height and width of the patches, which divides the size.
        depth: layers.
        width: numbers in a token, a multiple of `heads`; the perceptrons are four times as wide.
        heads: of the attention.
        channels: 1 for grey images, 3 for colour.
        mean, std: by which images from 0 to 1 are normalised, the same for all channels.
        places: return the patches' tokens too, as the named feature `places`, before the class token, `token`.

    Raises:
        ValueError: a number is below 1, or one is no multiple of the other.
    """

    def __init__(
        self,
        size: int = 32,
        patch: int = 4,
        depth: int = 6,
        width: int = 192,
        heads: int = 3,
        channels: int = 3,
        mean: float = 0.5,
        std: float = 0.25,
        places: bool = False,
    ) -> None:
        super().__init__()
        if min(size, patch, depth, width, heads) < 1:
            raise ValueError(
                f"size, patch, depth, width and heads are at least 1, not {size}, {patch}, {depth}, {width}, {heads}"
            )
        if size % patch or width % heads:
            raise ValueError(
                f"size is a multiple of patch, and width of heads; not {size} of {patch}, and {width} of {heads}"
            )
        self.size, self.patch, self.depth, self.width, self.heads = size, patch, depth, width, heads
        self.channels, self.mean, self.std, self.places = channels, mean, std, places
        self.normalise = Normalise(channels, mean, std)
        self.net = VisionTransformer(size, patch, depth, heads, width, 4 * width, num_classes=1)
        self.net.heads = nn.Identity()
        if channels != 3:
            self.net.conv_proj = nn.Conv2d(channels, width, patch, stride=patch)
            nn.init.trunc_normal_(self.net.conv_proj.weight, std=math.sqrt(1 / (channels * patch * patch)))
            nn.init.zeros_(self.net.conv_proj.bias)

    def forward(self, images: Tensor) -> Tensor | dict[str, Tensor]:
        """`[N, channels, size, size]` from 0 to 1, to `[N, width]`, or that after `[N, places, width]`.

        Raises:
            CrlError: the images have other channels or another size.
        """
        images = self.normalise(images)
        if images.shape[2:] != (self.size, self.size):
            height, width = images.shape[2:]
            raise CrlError(
                f"this encoder takes images of {self.size} × {self.size}, and these have {height} × {width}: "
                f"make it with size={height}, or views of its size"
            )
        places = self.net.conv_proj(images).flatten(2).mT
        token = self.net.class_token.expand(len(images), -1, -1)
        tokens: Tensor = self.net.encoder(torch.cat([token, places], 1))
        return {"places": tokens[:, 1:], "token": tokens[:, 0]} if self.places else tokens[:, 0]
