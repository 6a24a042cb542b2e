"""Random walks with a memory of one step (node2vec, Grover and Leskovec 2016), all walkers together."""

from __future__ import annotations

import torch
from torch import Tensor

from .adjacency import Adjacency


def walk(
    graph: Adjacency,
    start: Tensor,
    length: int,
    p: float = 1.0,
    q: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Walks `[W, length]` from the nodes `start` `[W]`; -1 from where a walk has no edge to go on by.

    From t over v on to x with a chance in proportion to the weight of (v, x), times 1/p if x is t, 1 if there is an
    edge between t and x, and 1/q if there is none (section 3.2). Nothing is stored for each edge: steps are drawn
    by the weights alone, and then accepted or drawn again.
    """
    path = start.new_full((len(start), length), -1)
    path[:, 0] = start
    goes_on = graph.degree > 0
    for step in range(1, length):
        now = path[:, step - 1]
        able = ((now >= 0) & goes_on[now]).nonzero().squeeze(1)
        if len(able) < len(now):
            now = now[able]
        if step == 1 or p == q == 1:
            path[able, step] = graph.draw(now, generator)
        else:
            path[able, step] = _second_order(graph, path[able, step - 2], now, p, q, generator)
    return path


def _second_order(
    graph: Adjacency, before: Tensor, now: Tensor, p: float, q: float, generator: torch.Generator | None
) -> Tensor:
    """The next node of walkers that came from `before` to `now`."""
    top = max(1.0, 1 / q)
    back = None
    if 1 / p > top:
        # Steps back would ask for a higher top, at which all others are refused more often: what they have above
        # it is drawn apart.
        extra = graph.weight(now, before) * (1 / p - top)
        back = extra / (extra + graph.strength(now) * top)
    after = now.clone()
    left = torch.arange(len(now), device=now.device)
    while len(left):
        here, there = before[left], graph.draw(now[left], generator)
        height = top * torch.rand(len(left), device=now.device, generator=generator)
        # Below the lower of the two biases nobody needs to know whether there is an edge, which costs the most.
        accepted = height < min(1.0, 1 / q)
        asked = (~accepted).nonzero().squeeze(1)
        accepted[asked] = graph.have(here[asked], there[asked]) == (q > 1)
        accepted = torch.where(there == here, height < 1 / p, accepted)
        if back is not None:
            returns = torch.rand(len(left), device=now.device, generator=generator) < back[left]
            there, accepted = torch.where(returns, here, there), accepted | returns
        after[left[accepted]] = there[accepted]
        left = left[~accepted]
    return after
