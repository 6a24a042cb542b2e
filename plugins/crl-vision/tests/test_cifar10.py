"""Every recipe on a small CIFAR-10, as benchmarks/vision.py trains it: better than raw pixels, and than no training.

`nox -s recipes` runs these, which take a while.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from crl_core import known

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "vision.py"

MARGIN = 0.02
"""By which every recipe's kNN is above raw pixels' and above its untrained encoder's: 40 of the 2,000 test images."""
LARGER = {
    "amdim": 0.05, "barlow-twins": 0.04, "cpc-v2": 0.03, "deep-ranking": 0.1, "dr-lim": 0.05, "hoffer-ailon": 0.05,
    "instance-discrimination": 0.04, "interclr": 0.04, "invariant-spreading": 0.08, "local-aggregation": 0.04,
    "moco-v1": 0.03, "moco-v2": 0.04, "nnclr": 0.05, "pcl": 0.04, "simclr": 0.06, "simclr-v2": 0.07, "simsiam": 0.03,
    "sup-con": 0.1, "swav": 0.04, "vicreg": 0.06, "w-mse": 0.04,
}  # fmt: skip
"""Of those that are surer of it, labels or not."""


@pytest.mark.recipes
@pytest.mark.slow
@pytest.mark.usefixtures("cifar10")
@pytest.mark.skipif(not BENCHMARK.is_file(), reason="the plugin stands alone")
@pytest.mark.parametrize("name", [part.name for part in known("recipe") if part.namespace == "vision"])
def test_a_recipe_beats_raw_pixels_and_its_untrained_encoder(name: str) -> None:
    command = [sys.executable, str(BENCHMARK), "--recipe", name, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)
    assert "error" not in row, row
    margin = LARGER.get(name, MARGIN)
    assert row["knn"] >= row["raw_knn"] + margin, row
    assert row["knn"] >= row["untrained_knn"] + margin, row


def test_the_margins_are_of_recipes_that_there_are() -> None:
    assert set(LARGER) <= {part.name for part in known("recipe")}
    assert min(LARGER.values()) > MARGIN
