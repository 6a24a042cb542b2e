"""The candidates with the highest scores."""

from __future__ import annotations

import math

from torch import Tensor

from ...data.pairs import Candidates


def threshold(candidates: Candidates, count: int) -> Tensor:
    """The score `[N, 1]` that the `count` highest of each query reach; -inf where there are fewer."""
    values = candidates.values.masked_fill(~candidates.mask, -math.inf)
    highest: Tensor = values.topk(min(count, values.shape[-1]), dim=-1).values
    return highest[..., -1:].detach()


def reaching(candidates: Candidates, least: Tensor) -> Candidates:
    """Those whose score is `least` `[N, 1]` or more."""
    return Candidates(candidates.values, candidates.mask & (candidates.values >= least))
