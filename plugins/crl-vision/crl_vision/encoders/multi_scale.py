from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from .normalise import Normalise


class MultiScale(nn.Module):
    """A vector of the whole image, and vectors of its parts, each of which sees only a small part.

    The maps of 7×7 and 5×5 places and the vector of AMDIM (Bachman et al. 2019), as named features `seven`, `five`
    and `one`; DIM's local map and global vector are the first and the last (Hjelm et al. 2019). No convolution is
    padded, and most see one place, so that the parts that two places see overlap little: 4 pixels of 16, 8 of 32.

    >>> import torch
    >>> from crl_vision.encoders.multi_scale import MultiScale
    >>> found = MultiScale(size=32, width=16, features=64)(torch.rand(2, 3, 32, 32))
    >>> {name: tuple(feature.shape) for name, feature in found.items()}
    {'seven': (2, 49, 32), 'five': (2, 25, 64), 'one': (2, 64)}

    Args:
        size: height and width of the images.
        width: channels of the first map; `seven` has at least twice as many.
        features: numbers in `one`.
        channels: 1 for grey images, 3 for colour.
        mean, std: by which images from 0 to 1 are normalised, the same for all channels.
    """

    def __init__(
        self,
        size: Literal[16, 32, 64, 128] = 32,
        width: int = 64,
        features: int = 256,
        channels: int = 3,
        mean: float = 0.5,
        std: float = 0.25,
    ) -> None:
        super().__init__()
        if size not in (16, 32, 64, 128):
            raise ValueError(f"size is 16, 32, 64 or 128, not {size!r}")
        if width < 1 or features < 1:
            raise ValueError(f"width and features are at least 1, not {width} and {features}")
        self.size, self.width, self.features = size, width, features
        self.channels, self.mean, self.std = channels, mean, std
        layers: list[nn.Module] = [Normalise(channels, mean, std), *_layer(channels, width, 4, stride=2)]
        places, wide = size // 2 - 1, width
        while places > 7:
            layers += [*_layer(wide, 2 * wide, 3, stride=2)]
            places, wide = places // 2, 2 * wide
        self.seven = nn.Sequential(*layers, *_layer(wide, 2 * width, 1), _Place(2 * width))
        self.five = nn.Sequential(*_layer(2 * width, 4 * width, 3), _Place(4 * width))
        self.one = nn.Sequential(*_layer(4 * width, features, 5), _Place(features), nn.Flatten())
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """`[N, channels, size, size]` from 0 to 1, to maps `[N, places, d]`, line by line, and a vector `[N, d]`.

        Raises:
            CrlError: the images have other channels.
            ValueError: they have another size.
        """
        if images.shape[2:] != (self.size, self.size):
            raise ValueError(
                f"this encoder takes images of {self.size} × {self.size}, and these have "
                f"{images.shape[2]} × {images.shape[3]}: make it with their size, or views of its size"
            )
        seven = self.seven(images)
        five = self.five(seven)
        return {"seven": _lines(seven), "five": _lines(five), "one": self.one(five)}


class _Place(nn.Module):
    """A residual step of every place by itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*_layer(channels, channels, 1), nn.Conv2d(channels, channels, 1))

    def forward(self, places: Tensor) -> Tensor:
        found: Tensor = torch.relu(places + self.layers(places))
        return found


def _layer(before: int, after: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(before, after, kernel, stride, bias=False)
    return [convolution, nn.BatchNorm2d(after), nn.ReLU(inplace=True)]


def _lines(places: Tensor) -> Tensor:
    """`[N, C, H, W]` as `[N, H · W, C]`."""
    return places.flatten(2).mT
