"""What `crl evaluate` holds in memory, and what a training step does: a folder of generated JPEGs.

    python benchmarks/evaluation.py [--images 20000] [--distinct 2000] [--json]

The highest resident memory (VmHWM) of a process of its own for each: one step of SimCLR, and the evaluation of the run
with the default evaluators. The bar: evaluation takes at most 2 GB more than the step.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rows import show

BAR = 2.0  # GB above the step
CLASSES = 10
# What a process of its own runs: the command, and then its peak on a line of its own.
CODE = """
import re, resource, sys
from crl_core.cli import main
code = main(sys.argv[1:])
try:
    peak = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
except OSError:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(f"peak {peak}")
sys.exit(code)
"""


def generate(folder: Path, images: int, distinct: int, pixels: int) -> None:
    """JPEGs of smooth colours with noise, in a folder for each class: so many are distinct, the others hard links."""
    draw = np.random.default_rng(0)
    for number in range(images):
        path = folder / str(number % CLASSES) / f"{number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        if number >= distinct:
            os.link(folder / str(number % distinct % CLASSES) / f"{number % distinct:06}.jpg", path)
            continue
        coarse = Image.fromarray(draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((pixels, pixels))
        noisy = np.asarray(coarse, dtype=np.int16) + draw.integers(-8, 9, (pixels, pixels, 1), dtype=np.int16)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=85)


def measured(*arguments: object) -> tuple[float, float, str]:
    """Peak in GB, seconds and output of a `crl` command."""
    start = time.perf_counter()
    command = [sys.executable, "-c", CODE, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    output, _, peak = done.stdout.rpartition("peak ")
    return int(peak) / 1e6, time.perf_counter() - start, output


def measure(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        generate(folder / "images", options.images, min(options.distinct, options.images), options.pixels)
        settings = ["source=vision/folder", f"source.root={folder / 'images'}", f"source.size={options.view}"]
        settings += ["epochs=1", "steps=1", f"batch_size={options.batch}"]
        settings += [f"encoder={options.encoder}"] if options.encoder else []
        told = [part for setting in settings for part in ("--set", setting)]
        run = folder / "run"
        peak, seconds, _ = measured("train", "simclr", *told, "--no-report", "--accelerator", "cpu", "--out", run)
        yield {"what": "a training step", "GB": peak, "s": seconds}
        above, seconds, output = measured("evaluate", run)
        notes = [line for line in output.splitlines() if line.startswith("note: ")]
        yield {"what": "crl evaluate", "GB": above, "s": seconds, "above the step": above - peak, "notes": notes}


def line(row: dict[str, Any]) -> str:
    text = f"{row['what']:<16} {row['GB']:6.2f} GB {row['s']:8.0f} s"
    return "\n".join([text, *row.get("notes", ())])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--distinct", type=int, default=2_000, help="the others are hard links to these")
    parser.add_argument("--pixels", type=int, default=512, help="height and width of the JPEGs")
    parser.add_argument("--view", type=int, default=128, help="height and width of what the encoder sees")
    parser.add_argument("--batch", type=int, default=128, help="images in a training step")
    parser.add_argument("--encoder", help="by default the recipe's, ResNet-18")
    parser.add_argument("--folder", help="where the images are written; a temporary folder by default")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    above = 0.0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal above
        for row in measure(options):
            above = row.get("above the step", 0.0)
            yield row

    show(rows(), line, options.json)
    if above > BAR:
        sys.exit(f"evaluation takes {above:.2f} GB more than a training step: the bar is {BAR} GB")


if __name__ == "__main__":
    main()
