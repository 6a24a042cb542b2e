"""The representations of all items of a split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from ..contracts.parts import Items, Stream
from ..data.view import Embeddings
from ..errors import CrlError
from ..method.pipeline import Pipeline
from .tables import Growing, batches, device_of, in_chunks


@torch.no_grad()
def embed(pipeline: Pipeline, items: Items, branch: str | None = None, batch_size: int = 512) -> Embeddings:
    """The representations `[N, d]` of all items, on the CPU, with their columns."""
    table, columns = Growing(0 if isinstance(items, Stream) else len(items)), []
    read = pipeline.views_of(branch or next(iter(pipeline.branches)))[0]
    for batch in batches(items, batch_size, device_of(pipeline)):
        for part in in_chunks(pipeline.clean(batch), read):
            table.add(pipeline.represent(part, branch).cpu())
        columns.append(
            Embeddings(torch.empty(len(batch), 0), {name: column.cpu() for name, column in batch.meta.items()})
        )
    return Embeddings(table.rows, Embeddings.concat(columns).meta)


def check_path(path: Path) -> None:
    """Checks that a table can be written to this path.

    Raises:
        CrlError: the path has another ending, or its folder doesn't exist.
    """
    if path.suffix not in (".npz", ".safetensors"):
        raise CrlError(f"{path}: embeddings are written as .npz or .safetensors")
    if not path.parent.is_dir():
        raise CrlError(f"{path}: there is no folder {path.parent}")


def write(table: Embeddings, path: Path) -> None:
    """Writes the table as NumPy's `.npz` or as `.safetensors`: `representation` and all columns.

    Raises:
        CrlError: the file can't be written.
    """
    check_path(path)
    arrays = {"representation": table.z, **table.meta}
    try:
        if path.suffix == ".npz":
            np.savez(path, **{name: tensor.numpy() for name, tensor in arrays.items()})  # type: ignore[arg-type]
        else:
            save_file({name: tensor.contiguous() for name, tensor in arrays.items()}, path)
    except (OSError, SafetensorError) as error:
        raise CrlError(f"{path} can't be written: {error}") from None
