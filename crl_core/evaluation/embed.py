"""All items of a split, as representations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from ..errors import CrlError
from ..pipeline import Pipeline
from ..protocols import Embeddings, Items
from .evaluate import batches, device_of


@torch.no_grad()
def embed(pipeline: Pipeline, items: Items, branch: str | None = None, batch_size: int = 512) -> Embeddings:
    """The representations `[N, d]` of all items, on the CPU, with their columns."""
    tables = []
    for batch in batches(items, batch_size, device_of(pipeline)):
        meta = {name: column.cpu() for name, column in batch.meta.items()}
        tables.append(Embeddings(pipeline.encode(batch, branch).cpu(), meta))
    return Embeddings.concat(tables)


def write(table: Embeddings, path: Path) -> None:
    """Writes the table as NumPy's `.npz` or as `.safetensors`: `representation` and every column."""
    arrays = {"representation": table.z, **table.meta}
    if path.suffix == ".npz":
        np.savez(path, **{name: tensor.numpy() for name, tensor in arrays.items()})  # type: ignore[arg-type]
    elif path.suffix == ".safetensors":
        save_file({name: tensor.contiguous() for name, tensor in arrays.items()}, path)
    else:
        raise CrlError(f"{path}: embeddings are written as .npz or .safetensors")
