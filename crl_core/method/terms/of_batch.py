"""The term of a loss on all positive pairs of all processes: each process computes all of it."""

from __future__ import annotations

import torch

from ... import distributed
from ...data.pairs import Pairs
from .term import Contrasting, Sides, TermValue


def term(contrast: Contrasting, sides: Sides) -> TermValue:
    pairs = contrast.candidates(sides)
    if not pairs.per_query:
        pairs = Pairs(distributed.gather(pairs.query), pairs.keys, pairs.positive, pairs.negative)
    row, query, key = pairs.aligned()
    alone = len(pairs.query) - torch.unique(row).numel()
    return TermValue(contrast.loss(query, key), torch.tensor(alone, device=row.device))
