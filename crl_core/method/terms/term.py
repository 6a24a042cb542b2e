"""One term of the objective."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from ... import distributed


class Term(NamedTuple):
    """A mean over the counted queries, and how many were not counted."""

    value: Tensor
    ignored: Tensor


def mean(total: Tensor, counted: Tensor, ignored: Tensor) -> Term:
    """The mean over what counts on all processes, such that the average of the processes' gradients is its gradient."""
    world, value = distributed.world_size(), total / distributed.total(counted).clamp(min=1)
    return Term(value if world == 1 else value * world, distributed.total(ignored))
