from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from crl_core import Embeddings, Lazy


class Objects(Lazy):
    """The state of every object in a picture: a mask for each, and a perceptron that reads it.

    The object extractor and object encoder of C-SWM (Kipf et al. 2020, section 3.1, appendix D), with its
    initialisation. The states before and after a step are computed in one pass, so that batch normalisation sees both.

    >>> import torch
    >>> from crl_graph.encoders.objects import Objects
    >>> Objects(objects=5, size=2, hidden=32)(torch.rand(4, 3, 50, 50)).shape  # the numbers of each object in turn
    torch.Size([4, 10])

    Args:
        objects: masks.
        size: numbers for each object.
        hidden: width of the perceptron; there are a sixteenth as many channels before the masks.
        masks: "small" looks at cells of 10 × 10 pixels; "medium" at overlapping ones of 9 × 9, for objects that hide
            parts of each other.
    """

    def __init__(
        self, objects: int = 5, size: int = 2, hidden: int = 512, masks: Literal["small", "medium"] = "small"
    ) -> None:
        super().__init__()
        if masks not in ("small", "medium"):
            raise ValueError(f'masks are "small" or "medium", not {masks!r}')
        self.objects, self.size, self.hidden, self.masks = objects, size, hidden, masks

    def build(self, width: int) -> None:
        channels = max(1, self.hidden // 16)
        if self.masks == "small":
            first, last = nn.Conv2d(3, channels, 10, stride=10), nn.Conv2d(channels, self.objects, 1)
        else:
            first, last = nn.Conv2d(3, channels, 9, padding=4), nn.Conv2d(channels, self.objects, 5, stride=5)
        between = nn.ReLU() if self.masks == "small" else nn.LeakyReLU()
        self.look = nn.Sequential(first, nn.BatchNorm2d(channels), between, last, nn.Sigmoid())
        self.read = nn.Sequential(
            nn.LazyLinear(self.hidden),
            nn.ReLU(),
            nn.Linear(self.hidden, self.hidden),
            nn.LayerNorm(self.hidden),
            nn.ReLU(),
            nn.Linear(self.hidden, self.size),
        )
        with torch.no_grad():
            self.read(self.look.eval()(torch.zeros(1, 3, width, width)).flatten(2))
        self.apply(xavier)

    def forward(self, step: Tensor | Mapping[str, Tensor]) -> Tensor | Embeddings:
        """Pictures `[B, 3, H, H]` to states `[B, objects · size]`; a step to those before, with features for heads."""
        if isinstance(step, Tensor):
            return self._states(step)
        before, after = self._states(torch.cat([step["observation"], step["next"]])).chunk(2)
        features = {"state": before, "next": after, "action": step["action"], "other": step["other"]}
        return Embeddings(before, {}, features)

    def _states(self, pictures: Tensor) -> Tensor:
        self.ensure_built(pictures)
        numbers = pictures.to(next(self.look.parameters()).dtype)
        if not pictures.is_floating_point():
            numbers = numbers / 255
        states: Tensor = self.read(self.look(numbers).flatten(2))
        return states.flatten(1)


def xavier(module: nn.Module) -> None:
    """The start of C-SWM's weights: Glorot and Bengio's, and no biases."""
    if isinstance(module, (nn.Linear, nn.Conv2d)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
