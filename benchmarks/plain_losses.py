"""The losses as anybody writes them, from a matrix of all scores."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

TEMPERATURE = 0.07


def one_direction(a: Tensor, b: Tensor) -> Tensor:
    return F.cross_entropy(_scores(a, b), torch.arange(len(a), device=a.device))


def symmetric(a: Tensor, b: Tensor) -> Tensor:
    scores, target = _scores(a, b), torch.arange(len(a), device=a.device)
    return (F.cross_entropy(scores, target) + F.cross_entropy(scores.T, target)) / 2


def nt_xent(a: Tensor, b: Tensor) -> Tensor:
    z = torch.cat([a, b])
    scores = _scores(z, z).masked_fill(torch.eye(len(z), dtype=torch.bool, device=z.device), -torch.inf)
    return F.cross_entropy(scores, torch.arange(len(z), device=z.device).roll(len(a)))


def _scores(a: Tensor, b: Tensor) -> Tensor:
    query = F.normalize(a, dim=1)
    key = query if b is a else F.normalize(b, dim=1)
    return query @ key.T / TEMPERATURE
