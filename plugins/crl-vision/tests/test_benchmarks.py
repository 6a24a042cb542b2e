"""The scripts that measure recipes run, at the smallest size, on the real images."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("cifar10"),
    pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="the plugin stands alone"),
]


def rows(script: str, *options: str) -> list[dict[str, Any]]:
    command = [sys.executable, str(BENCHMARKS / script), "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_table_of_recipes_has_a_row_with_all_figures() -> None:
    found, missing = rows(
        "vision.py", "--recipe", "siamese", "nothing", "--images", "100", "--epochs", "1", "--seeds", "2"
    )
    assert (found["recipe"], found["epochs"], found["images"], found["seeds"]) == ("siamese", 1, 100, 2)
    for figure in ("knn", "linear", "untrained_knn", "raw_knn"):
        assert 0 <= found[figure] <= 1
    assert found["cpu_seconds"] > 0
    assert found["peak_memory_mb"] > 100
    assert found["spread"] >= 0
    assert "no recipe named 'nothing'" in missing["error"], "one that fails says so in its row"


def test_the_figures_of_a_gpu_are_made_on_a_cpu_too() -> None:
    found, *others = rows("gpu_cifar10.py", "--images", "64", "--epochs", "1", "--only", "simclr")
    assert (found["recipe"], found["epochs"]) == ("simclr", 1)
    assert found["images_per_second"] > 0
    assert {row["recipe"] for row in others} <= {"lightly's SimCLR"}
