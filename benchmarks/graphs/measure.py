"""Rows, clocks and means; and how recipes are trained to be measured."""

from __future__ import annotations

import contextlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import torch

import crl_core as crl

Row: TypeAlias = dict[str, Any]
Group: TypeAlias = Callable[[int], list[Row]]


def row(
    name: str,
    metric: str,
    ours: float | None,
    *,
    peer: float | None = None,
    published: float | None = None,
    cpu: float | None = None,
    peer_cpu: float | None = None,
) -> Row:
    figures = {"ours": ours, "peer": peer, "published": published, "cpu_seconds": cpu, "peer_cpu_seconds": peer_cpu}
    return {"name": name, "metric": metric} | {
        key: value if value is None else float(f"{value:.4g}") for key, value in figures.items()
    }


class Clock:
    """CPU seconds of this process."""

    def __enter__(self) -> Clock:
        self.start = time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.process_time() - self.start


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def mean_figures(runs: list[dict[str, float]]) -> dict[str, float]:
    return {name: mean([run[name] for run in runs]) for name in runs[0]}


def has(package: str) -> bool:
    return find_spec(package) is not None


def trained(name: str, preset: str, source: Any, seeds: int) -> tuple[list[Any], float]:
    """Pipelines of a recipe by so many seeds, and the CPU seconds of an epoch."""
    runs, seconds = [], 0.0
    for seed in range(seeds):
        torch.manual_seed(seed)
        made = crl.recipe(name, source=source, preset=preset)
        training = seeded(made.training, seed)
        with Clock() as clock:
            runs.append(crl.fit(made.pipeline, source, training, accelerator="cpu", show=False).pipeline)
        seconds += clock.seconds / training.epochs / seeds
    return runs, seconds


def seeded(training: Any, seed: int) -> Any:
    return attrs.evolve(training, seed=seed)


def whole(source: Any) -> Any:
    items = source.items("train")
    return items.__getitems__(list(range(len(items))))


@contextlib.contextmanager
def pyg(dataset: str, name: str, raw: Path) -> Iterator[Any]:
    """PyG's data set from a folder of raw files, which it would else write beside."""
    import shutil

    from crl_graph.sources.pyg import PyG

    with tempfile.TemporaryDirectory() as copied:
        shutil.copytree(raw, Path(copied) / name / "raw")
        yield PyG(dataset, name, root=copied)


def alone(module: str, function: str) -> tuple[float, float]:
    """What a function prints in a process of its own: gigabytes, and CPU seconds."""
    code = f"import torch; torch.set_num_threads(1); import {module} as measured; measured.{function}()"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    gigabytes, seconds = json.loads(done.stdout.splitlines()[-1])
    return gigabytes, seconds


def most_memory() -> float:
    """The most memory that this process has had, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
