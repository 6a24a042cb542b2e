from __future__ import annotations

from typing import Literal

import torch
import torchvision
from torch import Tensor, nn

from .conv_net import NORMS
from .normalise import Normalise

_STAGES = ("stage1", "stage2", "stage3", "stage4")


class ResNet(nn.Module):
    """torchvision's ResNet without its classifier (He et al. 2016), with random weights.

    `[N, channels, H, W]` to `[N, 512]`, or to `[N, 2048]` from 50 layers on.

    >>> import torch
    >>> from crl_vision.encoders.resnet import ResNet
    >>> encoder = ResNet(18, stem="small", stages=["stage4"])
    >>> {name: tuple(feature.shape) for name, feature in encoder(torch.rand(2, 3, 32, 32)).items()}
    {'stage4': (2, 16, 512), 'pooled': (2, 512)}

    Args:
        depth: layers.
        stem: "imagenet" halves the size twice before the first block; "small", for images of about
            32 pixels, starts with one 3×3 convolution instead (Chen et al. 2020, appendix B.9).
        channels: 1 for grey images, 3 for colour.
        mean, std: by which images from 0 to 1 are normalised, the same for all channels.
        norm: after each convolution: "batch"; "layer", over each image by itself; or "none". Only "batch" lets images,
            or patches, of a batch influence each other.
        stages: those of "stage1" to "stage4" whose maps are returned too, as named features `[N, places, channels]`
            line by line, before the pooled one, `pooled`.

    Raises:
        ValueError: there is no such depth, stem, norm or stage.
    """

    def __init__(
        self,
        depth: Literal[18, 34, 50, 101, 152] = 18,
        stem: Literal["imagenet", "small"] = "imagenet",
        channels: int = 3,
        mean: float = 0.45,
        std: float = 0.25,
        norm: Literal["batch", "layer", "none"] = "batch",
        stages: list[str] | None = None,
    ) -> None:
        super().__init__()
        if depth not in (18, 34, 50, 101, 152):
            raise ValueError(f"depth is 18, 34, 50, 101 or 152, not {depth!r}")
        if stem not in ("imagenet", "small"):
            raise ValueError(f'stem is "imagenet" or "small", not {stem!r}')
        if norm not in NORMS:
            raise ValueError(f"norm is {', '.join(NORMS)}, not {norm!r}")
        for stage in stages or []:
            if stage not in _STAGES:
                raise ValueError(f"stages are {', '.join(_STAGES)}, not {stage!r}")
        self.depth, self.stem, self.channels, self.mean, self.std = depth, stem, channels, mean, std
        self.norm, self.stages = norm, stages
        net = getattr(torchvision.models, f"resnet{depth}")(weights=None, norm_layer=NORMS[norm])
        if stem == "small":
            net.conv1, net.maxpool = nn.Conv2d(channels, 64, 3, padding=1, bias=False), nn.Identity()
        elif channels != 3:
            net.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
        net.fc = nn.Identity()
        self.layers = nn.Sequential(Normalise(channels, mean, std), net)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor | dict[str, Tensor]:
        """`[N, channels, H, W]` from 0 to 1, to `[N, 512]` (2048 from depth 50 on), or that among named maps."""
        if not self.stages:
            features: Tensor = self.layers(images)
            return features
        normalise, net = self.layers
        place: Tensor = net.maxpool(net.relu(net.bn1(net.conv1(normalise(images)))))  # type: ignore[operator]
        found: dict[str, Tensor] = {}
        for name, layer in zip(_STAGES, (net.layer1, net.layer2, net.layer3, net.layer4), strict=True):
            place = layer(place)  # type: ignore[operator]
            if name in self.stages:
                found[name] = place.flatten(2).mT
        return {**found, "pooled": place.mean((2, 3))}
