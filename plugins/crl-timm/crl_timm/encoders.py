"""timm's models as encoders, each a class of its own, made when somebody asks for it."""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar

import timm
import torch
from torch import Tensor, nn

from crl_core import CrlError, did_you_mean


class TimmEncoder(nn.Module):
    """A model of timm without its classifier: images to its pooled features.

    `[N, channels, H, W]` to `[N, d]`. The address is `timm/` and timm's name of the model.

    >>> import torch
    >>> import crl_core as crl
    >>> encoder = crl.make("encoder", "timm/test_resnet")
    >>> encoder(torch.rand(2, 3, 64, 64)).shape
    torch.Size([2, 96])

    Args:
        pretrained: start from timm's weights, which are downloaded for the first batch of images. An encoder that is
            loaded from a run or a file has its own weights, and downloads nothing.
        channels: 1 for grey images, 3 for colour.
        mean, std: by which images from 0 to 1 are normalised, the same for all channels; by default those of
            timm's weights, channel by channel.
        size: height and width of the images, for models that are made for one size (vision
            transformers); by default the size of timm's weights.

    Raises:
        ValueError: there are no such channels, weights or size.
    """

    model: ClassVar[str]
    """Its name in timm."""
    _mean: Tensor
    _std: Tensor

    def __init__(
        self,
        pretrained: bool = False,
        channels: int = 3,
        mean: float | None = None,
        std: float | None = None,
        size: int | None = None,
    ) -> None:
        super().__init__()
        if channels < 1:
            raise ValueError(f"channels is at least 1, not {channels}")
        if std is not None and not std > 0:
            raise ValueError(f"std is above 0, not {std}")
        self.pretrained, self.channels, self.mean, self.std, self.size = pretrained, channels, mean, std, size
        trained_with: Any = timm.get_pretrained_cfg(self.model)
        self._fixed: bool = trained_with.fixed_input_size
        self._wanted = [size, size] if size else list(trained_with.input_size[1:])
        if pretrained and not trained_with.has_weights:
            raise ValueError(f"timm has no weights for {self.model}: leave out pretrained")
        if size is not None and not self._fixed:
            raise ValueError(f"{self.model} takes images of any size: leave out size")
        for name, value, theirs in (("_mean", mean, trained_with.mean), ("_std", std, trained_with.std)):
            self.register_buffer(name, _by_channel(value, theirs, channels), persistent=False)
        self.net = self._make(pretrained=False)
        self._due = pretrained

    def forward(self, images: Tensor) -> Tensor:
        """`[N, channels, H, W]` from 0 to 1, to `[N, d]`.

        Raises:
            CrlError: the images have other channels or another size, or timm's weights can't be had.
        """
        self._check(images)
        if self._due:
            self._fetch()
        features: Tensor = self.net((images - self._mean) / self._std)
        return features

    def _check(self, images: Tensor) -> None:
        channels, *size = images.shape[1:]
        if channels != self.channels:
            raise CrlError(
                f"this encoder takes images with {self.channels} channels, and these have {channels}: "
                f"make it with channels={channels}"
            )
        if self._fixed and size != self._wanted:
            height, width = self._wanted
            raise CrlError(
                f"timm/{self.model} takes images of {height} × {width}, and these have {size[0]} × {size[1]}: "
                f"make it with size={size[0]}, or give it images of its size"
            )

    def _make(self, pretrained: bool) -> nn.Module:
        size: dict[str, Any] = {} if self.size is None else {"img_size": self.size}
        try:
            made: nn.Module = timm.create_model(
                self.model, pretrained=pretrained, in_chans=self.channels, num_classes=0, **size
            )
        except TypeError as error:
            if self.size is None:
                raise
            raise ValueError(f"timm's {self.model} can't be made for another size: leave out size ({error})") from error
        return made

    def _fetch(self) -> None:
        try:
            weights = self._make(pretrained=True).state_dict()
        except Exception as error:  # the hub, the network, the disk: each fails in its own way
            raise CrlError(
                f"timm/{self.model}: its weights can't be fetched: {type(error).__name__}: {error}\n"
                f"  They come from a hub, once, and are kept in the folder HF_HOME. Without a network: fetch them "
                f"where there is one, bring that folder here and set HF_HOME to it. pretrained=False starts from "
                f"random weights"
            ) from error
        self.net.load_state_dict(weights)
        self._due = False

    def _load_from_state_dict(self, *args: Any) -> None:
        self._due = False
        super()._load_from_state_dict(*args)


def _by_channel(value: float | None, theirs: tuple[float, ...], channels: int) -> Tensor:
    """`[channels, 1, 1]`: one value for all, or theirs; with other channels than colours, the mean of theirs."""
    if value is not None:
        found = torch.full((channels,), float(value))
    elif channels == len(theirs):
        found = torch.tensor(theirs)
    else:
        found = torch.full((channels,), sum(theirs) / len(theirs))
    return found.view(-1, 1, 1)


@cache
def opened(model: str) -> type[TimmEncoder]:
    """The class of one of timm's models.

    Args:
        model: its name in timm, such as `resnet50`, or with the weights' own name `resnet50.a1_in1k`.

    Raises:
        CrlError: timm has no such model, or no such weights of it.
    """
    name, _, weights = model.partition(".")
    if not timm.is_model(name):
        close = did_you_mean(name, timm.list_models())
        raise CrlError(f"no encoder named 'timm/{model}': timm {timm.__version__} has no model {name!r}.{close}")
    named = timm.list_pretrained(f"{name}.*")
    if weights and model not in named:
        close = did_you_mean(model, named) or f" It has {', '.join(named) or 'none'}"
        raise CrlError(f"no encoder named 'timm/{model}': timm {timm.__version__} has no such weights.{close}")
    # pickle finds a class by its name in this module, see __getattr__.
    space = {"model": model, "__module__": __name__, "__doc__": f"timm's {model}. {TimmEncoder.__doc__}"}
    return type(model.replace(".", "__"), (TimmEncoder,), space)


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return opened(name.replace("__", "."))
    except CrlError as error:
        raise AttributeError(str(error)) from None
