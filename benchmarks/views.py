"""Views of a batch: made at once by crl-vision, and one image after the other by torchvision's transforms.

    python benchmarks/views.py [--json] [--batch 256] [--size 32]

One view of every image, the same settings, one thread, interleaved; CPU seconds, the best of several rounds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from crl_vision.samplers.augmented import Augmented
from crl_vision.samplers.settings import SETTINGS, Augmentation
from rows import show
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import to_pil_image

from crl_core import View

ROUNDS = 5


def per_image(how: Augmentation, size: int) -> v2.Compose:
    """The same augmentation as torchvision's users write it."""
    kernel = 2 * max(1, size // 20) + 1
    steps: list[object] = [
        v2.RandomResizedCrop(size, how.area, how.ratio, antialias=True),
        v2.RandomHorizontalFlip(how.flip),
    ]
    colour = v2.ColorJitter(how.brightness, how.contrast, how.saturation, how.hue)
    steps += [v2.RandomApply([colour], how.jitter), v2.RandomGrayscale(how.grey)]
    if how.blur:
        steps.append(v2.RandomApply([v2.GaussianBlur(kernel, how.sigma)], how.blur))
    if how.solarise:
        steps.append(v2.RandomSolarize(0.5, how.solarise))
    return v2.Compose(steps)


def rivals(how: Augmentation, images: Tensor, size: int) -> dict[str, Callable[[], object]]:
    transform = per_image(how, size)
    ours, view = Augmented([how], size=size, count=1), View(images, {"instance": torch.arange(len(images))})
    pictures = [to_pil_image(image) for image in images]
    to_tensor = v2.Compose([v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)])
    runs: dict[str, Callable[[], object]] = {
        "crl": lambda: ours(view),
        "torchvision, tensors": lambda: torch.stack([transform(image) for image in images]),
    }
    if not how.solarise:  # whose threshold counts in bytes for Pillow
        runs["torchvision, Pillow"] = lambda: torch.stack([to_tensor(transform(picture)) for picture in pictures])
    return runs


def seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def measure(name: str, batch: int, size: int) -> list[dict[str, object]]:
    torch.manual_seed(0)
    images = torch.rand(batch, 3, size, size)
    rows = []
    for view, how in enumerate(SETTINGS[name]):
        runs = rivals(how, images, size)
        best = dict.fromkeys(runs, float("inf"))
        for _ in range(ROUNDS):
            for who, run in runs.items():
                best[who] = min(best[who], seconds(run))
        for who in list(runs)[1:]:
            rows.append(
                {
                    "settings": name if len(SETTINGS[name]) == 1 else f"{name}, view {view + 1}",
                    "peer": who,
                    "batch": batch,
                    "size": size,
                    "ours_ms": round(best["crl"] * 1e3, 1),
                    "theirs_ms": round(best[who] * 1e3, 1),
                    "time_ratio": round(best[who] / best["crl"], 1),
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--size", type=int, default=32)
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = ("simclr-small", "simclr", "moco-v2", "byol")
    show((row for name in names for row in measure(name, options.batch, options.size)), line, options.json)


def line(row: dict[str, Any]) -> str:
    return (
        f"{row['settings']:<16} {row['ours_ms']:>7} ms; {row['peer']:<20} {row['theirs_ms']:>7} ms: "
        f"{row['time_ratio']} times"
    )


if __name__ == "__main__":
    main()
