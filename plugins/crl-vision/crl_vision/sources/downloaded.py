"""torchvision's data sets that fit into memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch

from crl_core import CrlError, InMemory, check_split


class CIFAR10:
    """60,000 colour images of 32×32, 10 classes (Krizhevsky 2009); torchvision downloads them if they are missing.

    >>> from crl_vision.sources.downloaded import CIFAR10
    >>> CIFAR10(root="data").splits  # read, or downloaded, when the items are used
    ('train', 'test')

    Args:
        root: folder of the data.

    Raises:
        CrlError: the data are missing, and can't be downloaded.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "test")

    def __init__(self, root: str = "data") -> None:
        self.root = root

    def items(self, split: str) -> InMemory:
        return _cifar(10, self.root, check_split(split, self.splits))


class CIFAR100:
    """60,000 colour images of 32×32, 100 classes (Krizhevsky 2009); torchvision downloads them if they are missing.

    >>> from crl_vision.sources.downloaded import CIFAR100
    >>> CIFAR100(root="data").splits  # read, or downloaded, when the items are used
    ('train', 'test')

    Args:
        root: folder of the data.

    Raises:
        CrlError: the data are missing, and can't be downloaded.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "test")

    def __init__(self, root: str = "data") -> None:
        self.root = root

    def items(self, split: str) -> InMemory:
        return _cifar(100, self.root, check_split(split, self.splits))


class STL10:
    """113,000 colour images of 96×96, 10 classes (Coates et al. 2011); torchvision downloads them if they are missing.

    Training uses the 100,000 images without a label and the 5,000 with one; representations are judged by the latter.
    About 3 GB of memory.

    >>> from crl_vision.sources.downloaded import STL10
    >>> STL10(root="data").splits  # read, or downloaded, when the items are used
    ('train', 'test')

    Args:
        root: folder of the data.

    Raises:
        CrlError: the data are missing, and can't be downloaded.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "test")

    def __init__(self, root: str = "data") -> None:
        self.root = root

    def items(self, split: str) -> InMemory:
        which = "test" if check_split(split, self.splits) == "test" else "train+unlabeled"
        from torchvision import datasets

        found = _found("STL-10", self.root, lambda: datasets.STL10(self.root, split=which, download=True))
        return InMemory(torch.from_numpy(found.data), {"label": torch.as_tensor(found.labels).long()})


def _cifar(classes: int, root: str, split: str) -> InMemory:
    from torchvision import datasets

    load = getattr(datasets, f"CIFAR{classes}")
    found = _found(f"CIFAR-{classes}", root, lambda: load(root, train=split == "train", download=True))
    images = torch.from_numpy(found.data).permute(0, 3, 1, 2).contiguous()
    return InMemory(images, {"label": torch.tensor(found.targets)})


def _found(name: str, root: str, load: Callable[[], Any]) -> Any:
    """The data set, downloaded if need be.

    Raises:
        CrlError: it is neither there nor to be had.
    """
    try:
        return load()
    except (OSError, RuntimeError) as error:
        raise CrlError(
            f"{name} is not in the folder {root!r}, and could not be downloaded: {error}. "
            f"Put torchvision's files there, or use other images: source=vision/folder, source=vision/arrays"
        ) from error
