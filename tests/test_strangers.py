"""Other people's plugins, as wheels: a good one works, and the broken ones beside it change nothing for its users."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

STRANGERS = Path(__file__).parent / "strangers"
BROKEN = ("crl-wrecked", "crl-outdated")

TRAINED = """
import torch
from torch import Tensor, nn
import crl_core as crl

class Pooled(nn.Module):
    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.width = width
        self.layers = nn.Sequential(nn.Conv1d(2, width, 5), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten())

    def forward(self, series: Tensor) -> Tensor:
        return self.layers(series)

torch.manual_seed(0)
crl.register("encoder", "pooled", Pooled)
pipeline = crl.Pipeline("pulse/crops", encoder="pooled", head=crl.MLP(8), score="cosine", loss="pulse/unlabelled")
phase = 6.28 * torch.rand(16, 2, 1)
batch = crl.View(torch.sin(torch.arange(80) * torch.rand(16, 1, 1) + phase), {"instance": torch.arange(16)})
optimiser = torch.optim.Adam(pipeline.build(batch).parameters(), 0.01)
for _ in range(8):
    total = pipeline.loss(batch).total
    optimiser.zero_grad()
    total.backward()
    optimiser.step()
    pipeline.on_step()
    print(total.item().hex())
print(crl.digest(crl.describe(pipeline)))
"""


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A wheel of every stranger."""
    folder = tmp_path_factory.mktemp("wheels")
    for source in (STRANGERS / name for name in ("crl-pulse", *BROKEN)):
        run("-m", "uv", "build", "--wheel", "--no-build-isolation", "--offline", "--out-dir", str(folder), str(source))
    return {wheel.name.partition("-")[0].replace("_", "-"): wheel for wheel in folder.glob("*.whl")}


@pytest.fixture(scope="session")
def alone(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where only the good one is installed."""
    return installed(tmp_path_factory.mktemp("alone"), wheels["crl-pulse"])


@pytest.fixture(scope="session")
def together(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the broken ones are installed beside it."""
    return installed(tmp_path_factory.mktemp("together"), *wheels.values())


def installed(folder: Path, *wheels: Path) -> Path:
    run("-m", "uv", "pip", "install", "--offline", "--no-deps", "--target", str(folder), *map(str, wheels))
    return folder


def run(*command: str, path: Path | None = None, status: int = 0) -> subprocess.CompletedProcess[str]:
    """A fresh Python with one more folder on its path."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"} | ({} if path is None else {"PYTHONPATH": str(path)})
    done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done


def crl(*command: str, path: Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    return run("-c", "import sys; from crl_core.cli import main; sys.exit(main())", *command, path=path, status=status)


def test_a_wheel_holds_the_parts_and_their_names(wheels: dict[str, Path]) -> None:
    assert set(wheels) == {"crl-pulse", *BROKEN}


def test_the_good_one_is_there_by_being_installed(alone: Path) -> None:
    listed = json.loads(crl("list", "--json", path=alone).stdout)
    mine = [part for part in listed if part["distribution"] == "crl-pulse"]
    assert [(part["kind"], part["address"], part["version"]) for part in mine] == [
        ("loss", "pulse/unlabelled", "1.2.0"), ("sampler", "pulse/crops", "1.2.0"),
    ]  # fmt: skip
    assert "weight: float = 0.05" in crl("info", "unlabelled", path=alone).stdout
    assert crl("doctor", "crl-pulse", path=alone).stdout == "2 parts of 1 distributions, 0 problems\n"


@pytest.mark.slow
def test_it_trains_to_the_last_bit_as_it_does_without_the_broken_ones(alone: Path, together: Path) -> None:
    quiet, warned = run("-c", TRAINED, path=alone), run("-c", TRAINED, path=together)
    assert quiet.stdout == warned.stdout
    values = [float.fromhex(line) for line in quiet.stdout.splitlines()[:-1]]
    assert values[-1] < values[0]
    assert "Warning" not in quiet.stderr
    told = [line for line in warned.stderr.splitlines() if "Warning" in line]
    assert len(told) == 1, "the misspelt hook, once"
    assert "crl-wrecked 0.0.7" in told[0]
    assert re.search(r"\bhook 'crl_step_ends'.*'crl_step_end'", told[0])


def test_what_is_listed_of_the_good_one_is_the_same(alone: Path, together: Path) -> None:
    before, after = (crl("list", path=path).stdout.splitlines() for path in (alone, together))
    # Only the width of a column may differ.
    assert {" ".join(line.split()) for line in before} <= {" ".join(line.split()) for line in after}
    assert len(after) == len(before) + 8


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("wrecked/import-error", r"\bModuleNotFoundError\b.*'a_package_that_nobody_has'"),
        ("wrecked/leaves", r"\bSystemExit\b.*\blicence\b"),
        ("wrecked/no-module", r"\bModuleNotFoundError\b.*'crl_wrecked\.nowhere'"),
        ("wrecked/no-class", r"\bAttributeError\b.*'crl_wrecked\.loose'.*'Lost'"),
        ("outdated/old", r"\bcrl-outdated 3\.0\b.*\bcrl-core<0\.1\b.*\bcrl-core\b"),
        ("wrecked/wrong-group", r"\bloss\b.*'wrecked/wrong-group'"),
        ("unlabelled", r"\b2 plugins\b.*\bpulse/unlabelled \(crl-pulse 1\.2\.0\), wrecked/unlabelled \(crl-wrecked\b"),
    ],
)
def test_who_asks_for_a_broken_part_is_told_whose_it_is(together: Path, name: str, said: str) -> None:
    code = f"import crl_core as crl\ntry: crl.make('loss', {name!r})\nexcept crl.CrlError as error: print(error)"
    told = run("-c", code, path=together).stdout
    assert re.search(said, told)
    assert "not installed" not in told


def test_the_doctor_names_each_fault_without_importing_any(together: Path) -> None:
    problems = json.loads(crl("doctor", "--json", path=together, status=1).stdout)["problems"]
    told = "\n".join(f"{found['distribution']}: {found['problem']}" for found in problems)
    for said in (
        r"crl-wrecked: .*'crl\.losses'.*'wrong-group'",
        r"crl-wrecked: loss 'wrecked/no-module'.*'crl_wrecked\.nowhere'",
        r"crl-wrecked: loss 'unlabelled'.*\bpulse/unlabelled \(crl-pulse 1\.2\.0\)",
        r"crl-pulse: loss 'unlabelled'.*\bwrecked/unlabelled \(crl-wrecked 0\.0\.7\)",
        r"crl-outdated: 3\.0\b.*\bcrl-core<0\.1\b",
    ):
        assert re.search(said, told), said
    assert len(problems) == 5


@pytest.mark.slow
def test_the_doctor_names_every_fault_when_it_may_import(together: Path) -> None:
    found: dict[str, Any] = json.loads(
        crl("doctor", "crl-wrecked", "--import", "--json", path=together, status=1).stdout
    )
    told = "\n".join(problem["problem"] for problem in found["problems"])
    for said in (
        r"loss 'wrecked/import-error'.*\bModuleNotFoundError\b",
        r"loss 'wrecked/leaves'.*\bSystemExit\b",
        r"loss 'wrecked/no-module'.*\bcrl_wrecked\.nowhere\b",
        r"loss 'wrecked/no-class'.*\bAttributeError\b.*'Lost'",
        r"loss 'wrecked/loose'.*'\*options'",
        r"'crl\.losses'",
        r"loss 'unlabelled'.*\bpulse/unlabelled\b",
        r"\bhook 'crl_step_ends'.*'crl_step_end'",
    ):
        assert re.search(said, told), said
    assert len(found["problems"]) == 8
    (kernel,) = [imported for imported in found["imports"] if imported["kind"] == "kernel"]
    (reason,) = kernel["kernels"]["cpu"]
    assert "RuntimeError: no driver" in reason
