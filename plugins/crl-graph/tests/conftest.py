import os
from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def cora() -> Path:
    """Cora's raw files, as PyG reads them."""
    return data("planetoid") / "Cora" / "raw"


@pytest.fixture(scope="session")
def mutag() -> Path:
    """MUTAG's raw files, as PyG reads them."""
    return next(data("mutag").rglob("MUTAG_A.txt")).parent


@pytest.fixture(scope="session")
def umls() -> Path:
    """The folder with UMLS's triples."""
    return next(data("knowledge-graphs").rglob("umls/train.txt")).parent


def data(name: str) -> Path:
    """Where the project's script puts this data; the test is skipped where it isn't."""
    folder = Path(os.environ.get("CRL_DATA") or "~/.cache/crl-data").expanduser() / name
    if not folder.is_dir():
        pytest.skip(f"no {folder}: python benchmarks/data.py {name} fetches it, to where CRL_DATA says")
    return folder
