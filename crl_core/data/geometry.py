"""Measures of how embeddings are distributed on the sphere, without labels.

Rows are normalised to length 1 first.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def alignment(x: Tensor, y: Tensor, power: float = 2.0) -> Tensor:
    """E ‖x - y‖^power over positive pairs `[P, D]`: 0 is perfect (Wang and Isola 2020, section 4.1)."""
    parts = zip(x.split(1024), y.split(1024), strict=True)  # without a copy of either table
    distance = torch.cat([(F.normalize(a, dim=1) - F.normalize(b, dim=1)).norm(dim=1) for a, b in parts])
    return distance.pow(power).mean()


def uniformity(x: Tensor, t: float = 2.0) -> Tensor:
    """log E exp(-t ‖x - y‖²) over all pairs of different rows `[N, D]`; lower is more uniform.

    From 0, all in one point, to about -t · 2 in many dimensions (Wang and Isola 2020, section 4.1).
    """
    x = F.normalize(x, dim=1)
    # On the sphere ‖x - y‖² = 2 - 2 x·y. A row with itself contributes exp(0) = 1, which is subtracted again.
    strips = [((x[i : i + 1024] @ x.T - 1) * (2 * t)).logsumexp(1) for i in range(0, len(x), 1024)]
    total = torch.cat(strips).double().logsumexp(0).exp() - len(x)
    return (total.clamp(min=1e-300) / (len(x) * (len(x) - 1))).log().to(x.dtype)


def effective_rank(x: Tensor) -> Tensor:
    """exp of the entropy of the singular values of the centred rows `[N, D]` (Roy and Vetterli 2007).

    Roughly the number of directions in which the rows vary: from 1 to min(N - 1, D).
    """
    x = F.normalize(x, dim=1).detach().cpu()
    # Singular values from the smaller of the two products X Xᵀ and Xᵀ X, which is much faster for thousands of images.
    # In pieces, because the whole table in float64 would take twice the memory of the table itself.
    square = torch.zeros((min(x.shape),) * 2, dtype=torch.float64)
    if len(x) > x.shape[1]:
        mean = torch.stack([piece.double().sum(0) for piece in x.split(4096)]).sum(0) / len(x)
        for piece in x.split(4096):
            square.addmm_((piece.double() - mean).T, piece.double() - mean)
    else:
        for piece in x.split(4096, dim=1):
            centred = piece.double() - piece.double().mean(0)
            square.addmm_(centred, centred.T)
    values = torch.linalg.eigvalsh(square).clamp(min=0).sqrt()
    share = values / values.sum().clamp(min=1e-12)
    rank: Tensor = torch.special.entr(share).sum().exp()
    return rank


def spread(x: Tensor) -> Tensor:
    """The mean standard deviation of a dimension, times √D: 1 if rows cover the whole sphere, 0 if collapsed."""
    deviation: Tensor = F.normalize(x, dim=1).std(0)
    return deviation.mean() * math.sqrt(x.shape[1])
