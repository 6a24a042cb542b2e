from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ... import distributed
from ...errors import CrlError
from .aligned import aligned


class Whitening(nn.Module):
    """W-MSE: the squared distance 2 - 2 cos of the two embeddings of a pair, after whitening.

    Ermolov et al. 2021, section 3. Embeddings `[P, D]` of P pairs; one number for the batch. The pairs are split at
    random into slices of `size`; in each slice, each side is whitened by itself (Cholesky, no affine map) and its rows
    are then normalised to length 1. This is repeated `iterations` times, and the loss is the mean. Pairs that don't
    fill a slice enlarge the others; the authors' code needs a batch that divides. Embeddings that are all equal can't
    be whitened, which is an error; with an `epsilon` they cost 2.

    With pairs in both directions, a slice holds rows of both views. The paper uses one view as query
    and the other as key; for 4 views, a contrast for each two of them.

    >>> import torch
    >>> import crl_core as crl
    >>> _ = torch.manual_seed(0)
    >>> z = torch.randn(16, 4)
    >>> loss = crl.Whitening()  # slices of 2 · 4 = 8 pairs
    >>> loss(z, 3 * z + 1).item() < 1e-3  # scale and mean don't matter
    True
    >>> crl.Whitening(epsilon=0.1)(torch.ones(16, 4), torch.ones(16, 4))
    tensor(2.)

    Args:
        size: pairs in a slice, at least 2 D; None stands for 2 D, as in the paper.
        iterations: how often the pairs are split.
        epsilon: the share of the identity in the covariance, for embeddings that don't vary in all directions.

    Raises:
        ValueError: a number is out of its range.
        CrlError: there are too few pairs for a slice, or they can't be whitened.
    """

    takes: ClassVar[Literal["batch"]] = "batch"

    def __init__(self, size: int | None = None, iterations: int = 1, epsilon: float = 0.0) -> None:
        super().__init__()
        if size is not None and size < 2:
            raise ValueError(f"size, of a slice, is 2 pairs or more, not {size}")
        if iterations < 1:
            raise ValueError(f"iterations is 1 or more, not {iterations}")
        if not 0 <= epsilon < 1:
            raise ValueError(f"epsilon is a share, from 0 to below 1, not {epsilon!r}")
        self.size, self.iterations, self.epsilon = size, iterations, epsilon

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        query, key = aligned(self, query, key)
        slices = self._slices(*query.shape)
        total = query.new_zeros(())
        for _ in range(self.iterations):
            # The same for all processes, which all have all pairs.
            order = distributed.agreed(torch.randperm(len(query), device=query.device))
            for rows in order.tensor_split(slices):
                one, other = whitened(query[rows], self.epsilon), whitened(key[rows], self.epsilon)
                total = total + (2 - 2 * F.cosine_similarity(one, other)).sum()
        return total / (self.iterations * len(query))

    def _slices(self, count: int, width: int) -> int:
        size = 2 * width if self.size is None else self.size
        if size < 2 * width:
            raise CrlError(
                f"Whitening: the covariance of {width} dimensions can't be estimated from slices of {size} pairs: "
                f"size={2 * width} or more, or a head with at most {size // 2} dimensions"
            )
        if count < size:
            raise CrlError(
                f"Whitening: {count} positive pairs don't fill a slice of {size}: take a larger batch, "
                f"or a head with at most {count // 2} dimensions"
            )
        return count // size


def whitened(z: Tensor, epsilon: float = 0.0) -> Tensor:
    """`[n, D]` with mean 0 and the identity as covariance: L⁻¹ (z - mean), for the covariance L Lᵀ.

    Raises:
        CrlError: the rows don't vary in all directions.
    """
    centred = z - z.mean(0)
    covariance = centred.T @ centred / (len(z) - 1)
    covariance = (1 - epsilon) * covariance + epsilon * torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if failed:
        raise CrlError(
            f"Whitening: {len(z)} embeddings of {z.shape[1]} dimensions vary in fewer directions than that. "
            f"Have they collapsed, or does the encoder give fewer? A smaller head, or epsilon=0.01, may help"
        )
    found: Tensor = torch.linalg.solve_triangular(factor, centred.T, upper=False)
    return found.T
