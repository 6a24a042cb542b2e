"""Evaluation mode for a while, and weights that a stage of training freezes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

from ..errors import CrlError, did_you_mean


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode; afterwards, the mode from before."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)


class FrozenModules:
    """The modules that a stage has frozen."""

    def __init__(self) -> None:
        self.modules: list[nn.Module] = []
        self.weights: list[Tensor] = []

    def freeze(self, root: nn.Module, places: Sequence[str]) -> None:
        """Freezes the modules at these places of `root`, and trains again what was frozen before.

        Raises:
            CrlError: there is no such place.
        """
        for parameter in self.weights:
            parameter.requires_grad_(True)
        modules = dict(root.named_modules())
        for place in places:
            if place not in modules:
                raise CrlError(f"nothing to freeze at {place!r}.{did_you_mean(place, modules)}")
        self.modules = [modules[place] for place in places]
        trained = (parameter for module in self.modules for parameter in module.parameters())
        self.weights = [parameter for parameter in trained if parameter.requires_grad]
        for parameter in self.weights:
            parameter.requires_grad_(False)

    def rest(self) -> None:
        """Puts the frozen modules in evaluation mode."""
        for module in self.modules:
            module.eval()
