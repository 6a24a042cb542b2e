"""Packs CIFAR-10, as ten-thousand-image sheets with JSON labels, into one .npz for the source vision/arrays.

    python benchmarks/data.py cifar10
    python benchmarks/cifar10_npz.py cifar10.npz [FOLDER]

FOLDER, or a folder in it, holds `data_batch_1.png` … `data_batch_5.png`, `test_batch.png` (each row of a sheet is one
image) and the labels in `train_lables.json` and `test_lables.json`; by default it is the one that data.py fills.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def read(folder: Path, split: str, count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The first images `[count, 32, 32, 3]` of "train" or "test" with their labels; only the sheets that hold them."""
    folder = next(folder.rglob("test_batch.png")).parent
    names = ["test_batch.png"] if split == "test" else [f"data_batch_{i}.png" for i in range(1, 6)]
    count = 10_000 * len(names) if count is None else count
    images = np.concatenate([_sheet(folder / name) for name in names[: -(-count // 10_000)]])
    labels = json.loads((folder / f"{split}_lables.json").read_text())
    return images[:count], np.array(labels[:count])


def _sheet(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).reshape(-1, 32, 32, 3)


def main(folder: Path, out: Path) -> None:
    arrays: dict[str, Any] = {}
    for split in ("train", "test"):
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = read(folder, split)
    np.savez(out, **arrays)


if __name__ == "__main__":
    from data import folder_of

    main(Path(sys.argv[2]) if len(sys.argv) > 2 else folder_of("cifar10"), Path(sys.argv[1]))
