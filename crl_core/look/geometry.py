"""How embeddings lie on the sphere: what can be said of them without labels.

Rows are normalised to length 1 first.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def alignment(x: Tensor, y: Tensor, power: float = 2.0) -> Tensor:
    """E ‖x - y‖^power over positive pairs `[P, D]`: 0 is perfect (Wang and Isola 2020, section 4.1)."""
    distance: Tensor = (F.normalize(x, dim=1) - F.normalize(y, dim=1)).norm(dim=1)
    return distance.pow(power).mean()


def uniformity(x: Tensor, t: float = 2.0) -> Tensor:
    """log E exp(-t ‖x - y‖²) over all pairs of different rows `[N, D]`; lower is more uniform.

    From 0, all in one point, to about -t · 2 in many dimensions (Wang and Isola 2020, section 4.1).
    """
    x = F.normalize(x, dim=1)
    # On the sphere ‖x - y‖² = 2 - 2 x·y; a row with itself gives 0, and is taken off again.
    strips = [((x[i : i + 1024] @ x.T - 1) * (2 * t)).logsumexp(1) for i in range(0, len(x), 1024)]
    total = torch.cat(strips).double().logsumexp(0).exp() - len(x)
    return (total.clamp(min=1e-300) / (len(x) * (len(x) - 1))).log().to(x.dtype)


def effective_rank(x: Tensor) -> Tensor:
    """exp of the entropy of the singular values of the centred rows `[N, D]` (Roy and Vetterli 2007).

    About as many directions as carry something: from 1 to min(N - 1, D).
    """
    x = F.normalize(x, dim=1).detach().cpu().double()
    x = x - x.mean(0)
    # Singular values by the smaller of the two products: of thousands of images in a fraction of the time.
    square = x.T @ x if x.shape[0] > x.shape[1] else x @ x.T
    values = torch.linalg.eigvalsh(square).clamp(min=0).sqrt()
    share = values / values.sum().clamp(min=1e-12)
    rank: Tensor = torch.special.entr(share).sum().exp()
    return rank


def spread(x: Tensor) -> Tensor:
    """Standard deviation of a dimension, on average, times √D: 1 on the whole sphere, 0 when collapsed."""
    deviation: Tensor = F.normalize(x, dim=1).std(0)
    return deviation.mean() * math.sqrt(x.shape[1])
