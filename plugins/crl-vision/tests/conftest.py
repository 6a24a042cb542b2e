import os
from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def cifar10() -> Path:
    """The folder of CIFAR-10's images."""
    return data("cifar10")


def data(name: str) -> Path:
    """Where the project's script puts this data; the test is skipped where it isn't."""
    folder = Path(os.environ.get("CRL_DATA") or "~/.cache/crl-data").expanduser() / name
    if not folder.is_dir():
        pytest.skip(f"no {folder}: python benchmarks/data.py {name} fetches it, to where CRL_DATA says")
    return folder
