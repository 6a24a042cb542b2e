from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from crl_core import CrlError, InMemory, check_split, did_you_mean

_SPLITS = ("train", "val", "test")


class Arrays:
    """Images in one `.npz` file: `train_images`, `train_labels`, `test_images`, `test_labels` (and `val_…`).

    The layout of MedMNIST (Yang et al. 2023). Images are `[N, H, W]` or `[N, H, W, 1 or 3]`,
    bytes or numbers from 0 to 1; labels, which may be missing, are whole numbers `[N]` or `[N, 1]`,
    negative if unknown. Pickled objects are not read.

    >>> import os, tempfile
    >>> import numpy as np
    >>> from crl_vision.sources.arrays import Arrays
    >>> path = os.path.join(tempfile.mkdtemp(), "images.npz")
    >>> np.savez(path, train_images=np.zeros((4, 28, 28), np.uint8), train_labels=np.arange(4))
    >>> Arrays(path).items("train").__getitems__([0, 3]).data.shape
    torch.Size([2, 1, 28, 28])

    Args:
        path: of the file.

    Raises:
        CrlError: the file is missing, or holds something else.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        with self._open() as file:
            self.splits = tuple(split for split in _SPLITS if f"{split}_images" in file)
            if "train" not in self.splits:
                hint = did_you_mean("train_images", file.files)
                raise CrlError(f"{path} has no train_images; it has {', '.join(file.files) or 'nothing'}.{hint}")

    def items(self, split: str) -> InMemory:
        check_split(split, self.splits)
        with self._open() as file:
            images = self._images(file, f"{split}_images")
            name = f"{split}_labels"
            columns = {"label": self._labels(file, name, len(images))} if name in file else {}
        return InMemory(images, columns)

    def _open(self) -> np.lib.npyio.NpzFile:
        if not Path(self.path).is_file():
            raise CrlError(f"there is no file {self.path}")
        try:
            file = np.load(self.path, allow_pickle=False)
        except Exception as error:  # NumPy, zip and zlib raise all kinds
            raise CrlError(f"{self.path} is no .npz file: {error}") from None
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise CrlError(f"{self.path} holds a single array: save it with numpy.savez(path, train_images=…)")
        return file

    def _array(self, file: np.lib.npyio.NpzFile, name: str) -> Tensor:
        try:
            return torch.from_numpy(file[name])
        except Exception as error:
            raise CrlError(f"{self.path}: {name} can't be read: {error}") from None

    def _images(self, file: np.lib.npyio.NpzFile, name: str) -> Tensor:
        data = self._array(file, name)
        data = data.unsqueeze(-1) if data.dim() == 3 else data
        if data.dim() != 4 or data.shape[-1] not in (1, 3):
            raise CrlError(f"{self.path}: {name} is [N, H, W] or [N, H, W, 1 or 3], not {list(data.shape)}")
        if data.dtype != torch.uint8 and not data.is_floating_point():
            raise CrlError(f"{self.path}: {name} is bytes (uint8) or numbers from 0 to 1, not {data.dtype}")
        if data.is_floating_point() and data.numel():
            least, most = data.nan_to_num(0, 0, 0).aminmax()
            if most > 1:
                raise CrlError(f"{self.path}: {name} has numbers above 1; divide by 255, or save them as bytes")
            if least < 0:
                raise CrlError(f"{self.path}: {name} has numbers below 0; images are from 0 to 1, not normalised")
        return data.permute(0, 3, 1, 2).contiguous()

    def _labels(self, file: np.lib.npyio.NpzFile, name: str, count: int) -> Tensor:
        label = self._array(file, name)
        label = label.squeeze(1) if label.dim() == 2 and label.shape[1] == 1 else label
        if label.shape != (count,) or label.is_floating_point():
            raise CrlError(
                f"{self.path}: {name} is one whole number for each of the {count} images, "
                f"not {list(label.shape)} of {label.dtype}"
            )
        return label.long()
