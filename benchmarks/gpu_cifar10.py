"""CIFAR-10 on one GPU: what recipes reach with ResNet-18, how long they take, and their throughput against lightly's.

    python benchmarks/gpu_cifar10.py [--only simclr byol …] [--seeds 1] [--json]

ResNet-18 with the small stem, batches of 512, bfloat16, channels last; all images and all views are on the device.
SimCLR for 100 epochs, the others for 200. Every row is of the last epoch: kNN of 10 neighbours by cosine and a linear
probe on the representations, 50,000 training and 10,000 test images. Where lightly is installed, its SimCLR makes some
epochs in the same run, with as many workers for its transforms as there are cores; both rows say images per second.

Without a GPU it runs on the CPU, which is good for `--images 64 --epochs 1` and no more. The data are as for vision.py.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import attrs
import numpy as np
import torch
from cifar10_npz import read
from crl_vision.encoders.resnet import ResNet
from crl_vision.samplers.augmented import Augmented
from crl_vision.samplers.settings import SETTINGS
from data import folder_of
from torch.utils.data import DataLoader

import crl_core as crl
from crl_core import KNN, LinearProbe, Pipeline, Recipe, embed

EPOCHS = {"simclr": 100, "byol": 200, "moco-v2": 200, "sup-con": 200, "swav": 200, "barlow-twins": 200}
BATCH = 512


class OnDevice:
    """CIFAR-10 whose images are all in the memory of the device.

    Args:
        count: of the training images, and of the test images at most.
    """

    splits = ("train", "test")

    def __init__(self, device: torch.device, count: int = 50_000) -> None:
        self.loaded = {}
        for split, most in (("train", 50_000), ("test", 10_000)):
            images, labels = read(folder_of("cifar10"), split, min(count, most))
            data = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(device)
            self.loaded[split] = crl.InMemory(data, {"label": torch.from_numpy(labels)})

    def items(self, split: str) -> crl.InMemory:
        return self.loaded[split]


def made(name: str, source: OnDevice, epochs: int, seed: int) -> Recipe:
    """The recipe with ResNet-18, and SGD as the fastest public recipe for CIFAR-10 has it; grey is rarer there too."""
    torch.manual_seed(seed)
    found = crl.recipe(name, source=source, encoder=ResNet(18, stem="small"))
    if isinstance(found.pipeline.sampler, Augmented) and found.pipeline.sampler.settings == "simclr-small":
        found.pipeline.sampler = Augmented([attrs.evolve(SETTINGS["simclr-small"][0], grey=0.1)])
    cuda = source.items("train").data.device.type == "cuda"
    training = crl.Training(
        epochs=epochs,
        batch_size=BATCH,
        optimiser=crl.SGD(0.06 * BATCH / 256, momentum=0.9, weight_decay=5e-4),
        schedule=crl.CosineDecay(warmup=min(10.0, epochs / 10)),
        precision="bf16-mixed" if cuda else "32-true",
        seed=seed,
        log_every=100,
    )
    return Recipe(found.pipeline, source, training)


def judged(pipeline: Pipeline, source: OnDevice) -> dict[str, float]:
    train, test = (embed(pipeline, source.items(split)) for split in source.splits)
    return {**KNN(10)(train, test, None), **LinearProbe()(train, test, None)}


def trained(name: str, source: OnDevice, epochs: int, seed: int) -> dict[str, Any]:
    recipe, device = made(name, source, epochs, seed), source.items("train").data.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    pipeline = crl.fit(
        recipe.pipeline, source, recipe.training, accelerator=device.type, devices=1, show=False
    ).pipeline
    _finish(device)
    seconds = time.perf_counter() - started
    size = min(BATCH, len(source.items("train")))
    images = len(source.items("train")) // size * size * epochs
    memory = torch.cuda.max_memory_allocated() / 2**20 if device.type == "cuda" else 0.0
    figures = judged(pipeline, source)
    return {**figures, "seconds": seconds, "images_per_second": images / seconds, "gpu_memory_mb": memory}


def rows(names: list[str], source: OnDevice, epochs: int | None, seeds: int) -> Iterator[dict[str, Any]]:
    """A row for each recipe, the mean over the seeds."""
    for name in names:
        count = epochs or EPOCHS[name]
        runs = [trained(name, source, count, seed) for seed in range(seeds)]
        means = {figure: round(statistics.mean(run[figure] for run in runs), 4) for figure in runs[0]}
        spread = {"spread": round(statistics.stdev(run["knn"] for run in runs), 4)} if seeds > 1 else {}
        yield {"recipe": name, "epochs": count, "seeds": seeds, **means, **spread}


def of_lightly(source: OnDevice, steps: int) -> dict[str, Any]:
    """As many steps of SimCLR by lightly's blocks."""
    from lightly_blocks import step, transform
    from PIL.Image import fromarray

    images = source.items("train").data
    device, two_views = images.device, transform(32)
    pictures = np.asarray(images.permute(0, 2, 3, 1).cpu())

    class Views(torch.utils.data.Dataset[list[torch.Tensor]]):
        def __len__(self) -> int:
            return len(pictures)

        def __getitem__(self, index: int) -> list[torch.Tensor]:
            return two_views(fromarray(pictures[index]))

    workers = os.cpu_count() or 1 if device.type == "cuda" else 0
    size = min(BATCH, len(pictures))
    alive = workers > 0
    loader = DataLoader(
        Views(), size, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=alive, pin_memory=alive
    )
    run, done, warm = step(True, 0.5, device), 0, min(10, steps // 2)
    started = time.perf_counter()
    while done < warm + steps:
        for one, other in loader:
            if done == warm:
                _finish(device)
                started = time.perf_counter()
            run(one, other)
            done += 1
    _finish(device)
    return {"recipe": "lightly's SimCLR", "images_per_second": (done - warm) * size / (time.perf_counter() - started)}


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=EPOCHS, default=list(EPOCHS), metavar="RECIPE")
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--epochs", type=int, help="instead of 100 and 200")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one line of JSON for each row")
    options = parser.parse_args()
    try:
        folder_of("cifar10")
    except FileNotFoundError as error:
        parser.error(str(error))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    source = OnDevice(device, options.images)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    found = rows(options.only, source, options.epochs, options.seeds)
    for row in found:
        _print({**row, "device": name}, options.json)
    if find_spec("lightly"):
        steps = 3 * (options.images // BATCH) or 2
        _print({**of_lightly(source, steps), "device": name}, options.json)


def _print(row: dict[str, Any], as_json: bool) -> None:
    print(json.dumps(row) if as_json else ", ".join(f"{name} {value}" for name, value in row.items()), flush=True)


if __name__ == "__main__":
    main()
