from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from crl_core import CrlError, InMemory, check_split

from ..augmentation import move

_MOVES = 5
_TESTED = (36, 36, 35, 37, 36, 37, 36, 36, 35, 36)  # of each digit


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
        data, label = _of(split, self.size)
        return InMemory(data, {"label": label})


@cache
def _of(split: str, size: int) -> tuple[Tensor, Tensor]:
    images, labels, train, test = _all()
    chosen = train if split == "train" else test
    data = F.interpolate(images[chosen].view(-1, 1, 8, 8) / 16, (size, size), mode="bilinear")
    label = labels[chosen]
    if split == "moved":
        data, label = _moved(data.repeat(_MOVES, 1, 1, 1)), label.repeat(_MOVES)
    return (data * 255).round().to(torch.uint8), label


@cache
def _all() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """All images `[1797, 64]` from 0 to 16, their labels, and which are for training and for testing.

    From scikit-learn's own file, without scikit-learn: importing it takes longer than training for an epoch.

    Raises:
        CrlError: scikit-learn is not installed, or keeps its digits elsewhere.
    """
    found = find_spec("sklearn")
    path = Path(*(found.submodule_search_locations or () if found else ()), "datasets", "data", "digits.csv.gz")
    if not path.is_file():
        raise CrlError("the digits come with scikit-learn, in datasets/data/digits.csv.gz: install scikit-learn")
    table = torch.from_numpy(np.loadtxt(path, delimiter=",")).float()
    labels = table[:, -1].long()
    return table[:, :-1], labels, *_dealt(labels.numpy())


def _dealt(labels: np.ndarray[tuple[int], np.dtype[np.int64]]) -> tuple[Tensor, Tensor]:
    """What scikit-learn's `train_test_split` gives for a fifth of every label, with the seed 0."""
    draws = np.random.RandomState(0)
    for ties in (1, 2, 1, 2):  # it draws which labels have one more, settled here in `_TESTED`
        draws.permutation(ties)
    mine = [np.flatnonzero(labels == label) for label in range(10)]
    mine = [index[draws.permutation(len(index))] for index in mine]
    train = [index[:-count] for index, count in zip(mine, _TESTED, strict=True)]
    test = [index[-count:] for index, count in zip(mine, _TESTED, strict=True)]
    first, second = (draws.permutation(np.concatenate(part)) for part in (train, test))
    return torch.from_numpy(first), torch.from_numpy(second)


def _moved(images: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(0)

    def between(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(len(images), *shape, generator=generator) * (high - low) + low

    angle, shift, zoom = between(-40, 40), between(-0.125, 0.125, 2), between(0.7, 1.3)
    return move(images, angle, shift, zoom, torch.zeros(len(images)))
