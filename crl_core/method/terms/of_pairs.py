"""The term of a loss on positive pairs: the mean over all pairs."""

from __future__ import annotations

import torch

from .term import Contrasting, Sides, TermValue, mean


def term(contrast: Contrasting, sides: Sides) -> TermValue:
    pairs = contrast.candidates(sides)
    row, query, key = pairs.aligned()
    alone = torch.ones(len(pairs.query), dtype=torch.bool, device=row.device)
    alone[row] = False
    values = contrast.loss(query, key)
    return mean(values.sum(), torch.tensor(len(values), device=values.device), alone.sum())
