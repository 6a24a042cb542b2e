"""An encoder over many rows with the memory of a few: what is large is made again when its gradient is needed.

Gradient caching (Gao et al. 2021): the loss sees all embeddings, so value and gradient are those of the
whole batch, while the activations of only one chunk exist at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint

from .errors import CrlError


def in_chunks(encoder: nn.Module, data: Any, size: int) -> Any:
    """What `encoder` makes of `data` `[N, …]`, a tensor, `size` rows at a time.

    Batch normalisation takes the statistics of each chunk; its running ones move once for each.

    Raises:
        CrlError: the data, or what the encoder returns, can't be cut into rows.
    """
    if not isinstance(data, Tensor):
        raise CrlError(f"only a tensor can be encoded in chunks, not {type(data).__name__}: leave `chunk` out")
    trains = torch.is_grad_enabled() and any(parameter.requires_grad for parameter in encoder.parameters())
    parts = [_remade(encoder, part) if trains else encoder(part) for part in torch.split(data, size)]
    if isinstance(parts[0], Mapping):
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    if not isinstance(parts[0], Tensor):
        raise CrlError(f"an encoder that returns {type(parts[0]).__name__} can't run in chunks: leave `chunk` out")
    return torch.cat(parts)


def _remade(encoder: nn.Module, part: Tensor) -> Any:
    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _still(encoder)

    return checkpoint(encoder, part, use_reentrant=False, context_fn=contexts)


@contextmanager
def _still(encoder: nn.Module) -> Iterator[None]:
    """Running statistics have moved when the chunk was first encoded, and don't move again."""
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
