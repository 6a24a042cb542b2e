"""torchvision's classifiers as encoders, each a class of its own, made when somebody asks for it."""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar

import torchvision
from torch import Tensor, nn

from crl_core import CrlError

from .normalise import Normalise

# What a model is told that can't take images of any size, and where it has more than one classifier.
_SIZES = {"vit_": "image_size", "maxvit_": "input_size"}
_AUXILIARY = ("googlenet", "inception_v3")


class TorchvisionEncoder(nn.Module):
    """A model of torchvision without the last layer of its classifier, with random weights.

    `[N, channels, H, W]` to `[N, d]`. The address is `vision/` and torchvision's name of the model.

    >>> import torch
    >>> import crl_core as crl
    >>> encoder = crl.make("encoder", "vision/squeezenet1_1")
    >>> encoder(torch.rand(2, 3, 64, 64)).shape
    torch.Size([2, 512])

    Args:
        channels: 1 for grey images, 3 for colour.
        mean, std: by which images from 0 to 1 are normalised, the same for all channels.
        size: height and width of the images, for models that are made for one size (`vit_…` and `maxvit_…`);
            by default 224.

    Raises:
        ValueError: there are no such channels or size.
    """

    model: ClassVar[str]
    """Its name in torchvision."""

    def __init__(self, channels: int = 3, mean: float = 0.45, std: float = 0.25, size: int | None = None) -> None:
        super().__init__()
        self.channels, self.mean, self.std, self.size = channels, mean, std, size
        option = next((name for start, name in _SIZES.items() if self.model.startswith(start)), None)
        if size is not None and option is None:
            raise ValueError(f"{self.model} takes images of any size: leave out size")
        self._wanted = None if option is None else (size or 224)
        wanted: dict[str, Any] = {}
        if option is not None:
            wanted = {option: self._wanted if option == "image_size" else (self._wanted, self._wanted)}
        elif self.model in _AUXILIARY:
            wanted = {"aux_logits": False, "init_weights": False}
        self.normalise = Normalise(channels, mean, std)
        self.net = torchvision.models.get_model(self.model, weights=None, **wanted)
        _replace(self.net, _last(self.net), nn.Identity())
        if channels != 3:
            name, first = next((n, m) for n, m in self.net.named_modules() if isinstance(m, nn.Conv2d))
            other = nn.Conv2d(
                channels, first.out_channels, first.kernel_size, first.stride, first.padding,  # type: ignore[arg-type]
                bias=first.bias is not None,
            )  # fmt: skip
            _replace(self.net, name, other)

    def forward(self, images: Tensor) -> Tensor:
        """`[N, channels, H, W]` from 0 to 1, to `[N, d]`.

        Raises:
            CrlError: the images have other channels or another size, or are too small for this model.
        """
        images = self.normalise(images)
        height, width = images.shape[2:]
        if self._wanted is not None and (height, width) != (self._wanted, self._wanted):
            raise CrlError(
                f"vision/{self.model} takes images of {self._wanted} × {self._wanted}, and these have "
                f"{height} × {width}: make it with size={height}, or views of its size"
            )
        try:
            features: Tensor = self.net(images)
        except (RuntimeError, ValueError) as error:
            if "size" not in str(error).lower() and "more than 1 value" not in str(error):
                raise
            raise CrlError(f"vision/{self.model} can't encode images of {height} × {width}: {error}") from error
        return features


def _last(net: nn.Module) -> str:
    """The name of the last layer; SqueezeNet's is a convolution."""
    names: list[str] = [name for name, module in net.named_modules() if isinstance(module, nn.Linear)]
    if not names:
        names = [name for name, module in net.named_modules() if isinstance(module, nn.Conv2d)]
    return names[-1]


def _replace(net: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(net.get_submodule(parent), child, module)


def models() -> list[str]:
    """The names of torchvision's classifiers."""
    found: list[str] = torchvision.models.list_models(module=torchvision.models)
    return found


@cache
def opened(model: str) -> type[TorchvisionEncoder]:
    """The class of one of torchvision's models, by its name there."""
    # pickle finds a class by its name in this module, see __getattr__.
    space = {"model": model, "__module__": __name__, "__doc__": f"torchvision's {model}. {TorchvisionEncoder.__doc__}"}
    return type(model, (TorchvisionEncoder,), space)


def __getattr__(name: str) -> Any:
    if name.startswith("_") or name not in models():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return opened(name)
