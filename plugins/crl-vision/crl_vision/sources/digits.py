from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from crl_core import InMemory, check_split

from ..augmentation import move

_MOVES = 5


class Digits:
    """1,797 handwritten digits that come with scikit-learn (Alpaydin and Kaynak 1998), as 16×16 grey images.

    On the clean test images raw pixels are almost as good as any representation. The moved test images
    are the same, five times each, rotated by up to 40°, shifted by up to an eighth and scaled by
    up to 30 %: only a representation of the shape recognises them.

    >>> from crl_vision.sources.digits import Digits
    >>> source = Digits()
    >>> {split: len(source.items(split)) for split in source.splits}
    {'train': 1437, 'clean': 360, 'moved': 1800}
    >>> source.items("train").__getitems__([0]).data.shape
    torch.Size([1, 1, 16, 16])
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "clean", "moved")
    channels: ClassVar[int] = 1
    size: ClassVar[int] = 16

    def items(self, split: str) -> InMemory:
        check_split(split, self.splits)
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        images, labels = load_digits(return_X_y=True)
        chosen = train_test_split(range(len(labels)), test_size=0.2, random_state=0, stratify=labels)[split != "train"]
        data = torch.tensor(images[chosen], dtype=torch.float32).view(-1, 1, 8, 8) / 16
        data = F.interpolate(data, (self.size, self.size), mode="bilinear")
        label = torch.tensor(labels[chosen])
        if split == "moved":
            data, label = _moved(data.repeat(_MOVES, 1, 1, 1)), label.repeat(_MOVES)
        return InMemory((data * 255).round().to(torch.uint8), {"label": label})


def _moved(images: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(0)

    def between(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(len(images), *shape, generator=generator) * (high - low) + low

    angle, shift, zoom = between(-40, 40), between(-0.125, 0.125, 2), between(0.7, 1.3)
    return move(images, angle, shift, zoom, torch.zeros(len(images)))
