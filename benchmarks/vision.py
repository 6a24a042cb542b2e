"""Every installed recipe of crl-vision on a small CIFAR-10: accuracy, time and memory, one row each.

    python benchmarks/vision.py [--recipe NAME …] [--images 5000] [--epochs N] [--seeds 1] [--json]

The first 5,000 training and 2,000 test images, every recipe with its preset `digits` but for the epochs, 12 or as many
as `LONGER` says, one thread, each run in a process of its own. What is judged is the encoder of the last epoch:
weighted kNN of 20 neighbours and a linear probe on its representations, beside the same kNN of the untrained encoder
and of raw pixels. A recipe whose encoder doesn't train is judged by its learned score. With several seeds the figures
are means, and `spread` is the standard deviation of the kNN.

The images are those of `python benchmarks/data.py cifar10`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import torch
from cifar10_npz import read
from data import folder_of

import crl_core as crl
from crl_core import embed, known

TEST_IMAGES = 2_000
EPOCHS = 12
LONGER = {
    # A bank takes in an image once an epoch, and clusters come after a warm-up.
    "instance-discrimination": 20, "local-aggregation": 30, "pirl": 30,
    # A matrix that begins as the identity, by plain SGD.
    "oasis": 20,
}  # fmt: skip
"""Epochs of the recipes for which 12 are too few."""
FIGURES = ("knn", "linear", "untrained_knn", "raw_knn", "seconds", "cpu_seconds", "peak_memory_mb")


class SmallCIFAR10:
    """The first images of CIFAR-10.

    Args:
        count: training images; of the test images there are 2,000, or as many if that is less.
    """

    splits = ("train", "test")

    def __init__(self, count: int = 5_000) -> None:
        self.count = count
        self.loaded: dict[str, crl.InMemory] = {}

    def items(self, split: str) -> crl.InMemory:
        if split not in self.loaded:
            count = self.count if split == "train" else min(self.count, TEST_IMAGES)
            images, labels = read(folder_of("cifar10"), split, count)
            data = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
            self.loaded[split] = crl.InMemory(data, {"label": torch.from_numpy(labels)})
        return self.loaded[split]


def run(name: str, images: int, epochs: int | None, seed: int) -> dict[str, Any]:
    """One recipe, trained and judged; to be called in a fresh process, whose memory is measured."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    short = name.removeprefix("vision/")
    epochs = epochs or LONGER.get(short, EPOCHS)
    source = SmallCIFAR10(images)
    recipe = crl.recipe(name, source=source, epochs=epochs, seed=seed)
    started, cpu = time.perf_counter(), time.process_time()
    pipeline = crl.fit(recipe.pipeline, source, recipe.training, accelerator="cpu", devices=1, show=False).pipeline
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    first = next(branch.encoder for branch in pipeline.branches.values() if branch.encoder is not None)
    judge = "knn" if any(weight.requires_grad for weight in first.parameters()) else "score-knn"
    found = crl.evaluate(pipeline, source, evaluators=list({"knn", judge})).figures
    raw, knn = found["knn"]["test"]["raw"], found[judge.replace("-", "_")]["test"]
    train, test = (embed(pipeline, source.items(split)) for split in source.splits)
    linear = crl.make("evaluator", "linear")(train, test, None)["linear"]
    return {
        "recipe": short,
        "knn": knn["trained"],
        "linear": linear,
        "untrained_knn": knn["untrained"],
        "raw_knn": raw,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "peak_memory_mb": memory,
        "epochs": epochs,
        "images": images,
        "seeds": 1,
    }


def row(name: str, images: int, epochs: int | None, seeds: int) -> dict[str, Any]:
    """The figures of a recipe, the mean over the seeds; or why there are none."""
    runs = []
    for seed in range(seeds):
        fresh = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=fresh) as process:
            try:
                runs.append(process.submit(run, name, images, epochs, seed).result())
            except Exception as error:  # one that fails says so, and the others go on
                return {"recipe": name.removeprefix("vision/"), "error": f"{type(error).__name__}: {error}"}
    means = {figure: round(statistics.mean(each[figure] for each in runs), 4) for figure in FIGURES}
    spread = {"spread": round(statistics.stdev(each["knn"] for each in runs), 4)} if seeds > 1 else {}
    return {**runs[0], **means, **spread, "seeds": seeds}


def table(rows: Iterator[dict[str, Any]]) -> Iterator[str]:
    """The rows in Markdown, as they come."""
    yield "| recipe | kNN | linear | kNN untrained | kNN raw | CPU seconds | peak MB | epochs |"
    yield "|---|---|---|---|---|---|---|---|"
    for each in rows:
        if "error" in each:
            yield f"| {each['recipe']} | {each['error']} | | | | | | |"
            continue
        spread = f" ± {each['spread']:.3f}" if "spread" in each else ""
        yield (
            f"| {each['recipe']} | {each['knn']:.3f}{spread} | {each['linear']:.3f} | {each['untrained_knn']:.3f} "
            f"| {each['raw_knn']:.3f} | {each['cpu_seconds']:.0f} | {each['peak_memory_mb']:.0f} | {each['epochs']} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", nargs="+", help="all by default")
    parser.add_argument("--images", type=int, default=5_000)
    parser.add_argument("--epochs", type=int, help="by default as many as each recipe needs")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one line of JSON for each row")
    options = parser.parse_args()
    try:
        folder_of("cifar10")
    except FileNotFoundError as error:
        parser.error(str(error))
    chosen = options.recipe or [part.address for part in known("recipe") if part.namespace == "vision"]
    rows = (row(name, options.images, options.epochs, options.seeds) for name in chosen)
    for line in map(json.dumps, rows) if options.json else table(rows):
        print(line, flush=True)


if __name__ == "__main__":
    main()
