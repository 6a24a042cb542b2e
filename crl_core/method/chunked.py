"""Encodes many rows in the memory of a few: activations are computed again when their gradient is needed.

Gradient caching (Gao et al. 2021): the loss sees all embeddings, so value and gradient are those of the
whole batch, while the activations of only one chunk exist at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint

from ..data.rows import join_rows, row_count, take_rows
from ..data.view import Embeddings
from ..errors import CrlError


def in_chunks(encoder: nn.Module, data: Any, size: int) -> Any:
    """The output of `encoder`, computed for `size` rows at a time.

    Batch normalisation uses the statistics of each chunk; its running statistics move once per chunk.

    Raises:
        CrlError: the data, or the output of the encoder, can't be split into rows.
    """
    trains = torch.is_grad_enabled() and any(parameter.requires_grad for parameter in encoder.parameters())
    count = row_count(data)
    starts = range(0, max(count, 1), size)
    chunks = [data] if len(starts) == 1 else [take_rows(data, slice(start, start + size)) for start in starts]
    parts = [_remade(encoder, chunk) if trains else encoder(chunk) for chunk in chunks]
    return _joined(parts, [min(size, count - start) for start in starts])


def _joined(parts: Sequence[Any], counts: Sequence[int]) -> Any:
    """The outputs of the encoder for chunks of `counts` rows, joined as one output."""
    first = parts[0]
    if isinstance(first, Embeddings):
        rows = [len(part) for part in parts]
        features = _joined_features([part.features for part in parts], counts, rows)
        return Embeddings(join_rows([part.z for part in parts]), _columns([part.meta for part in parts]), features)
    if isinstance(first, Mapping):
        return _joined_features(parts, counts, [len(next(reversed(part.values()))) for part in parts])
    if not isinstance(first, Tensor):
        raise CrlError(f"an encoder that returns {type(first).__name__} can't run in chunks: leave `chunk` out")
    return join_rows(parts)


def _columns(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: join_rows([part[name] for part in parts]) for name in parts[0] if all(name in part for part in parts)}


def _joined_features(
    parts: Sequence[Mapping[str, Tensor]], counts: Sequence[int], rows: Sequence[int]
) -> dict[str, Tensor]:
    """The features of chunks of `counts` rows, for which the encoder has returned `rows` rows, joined.

    Raises:
        CrlError: a feature's number of rows is neither of the two.
    """
    for part, *wanted in zip(parts, counts, rows, strict=True):
        for name, value in part.items():
            if not value.dim() or len(value) not in wanted:
                raise CrlError(
                    f"the encoder's feature {name!r} has shape {list(value.shape)} for a chunk of {wanted[0]} rows: "
                    f"only a feature with a value per row can be encoded in chunks. Leave `chunk` out"
                )
    return _columns(parts)


def _remade(encoder: nn.Module, part: Any) -> Any:
    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _still(encoder)

    return checkpoint(encoder, part, use_reentrant=False, context_fn=contexts)


@contextmanager
def _still(encoder: nn.Module) -> Iterator[None]:
    """Without moving running statistics: they moved when the chunk was encoded for the first time."""
    norms = [module for module in encoder.modules() if isinstance(module, _NormBase) and module.track_running_stats]
    before = [
        (norm.momentum, norm.num_batches_tracked.clone()) for norm in norms if norm.num_batches_tracked is not None
    ]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(count)  # type: ignore[union-attr]
