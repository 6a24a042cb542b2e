from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from crl_core import View

from ..adjacency import Adjacency
from ..data import GraphRows
from ..sparse import Kept


class Subgraphs:
    """Two subgraphs around each node asked for: the nodes that a random walk with restart visits.

    GCC (Qiu et al. 2020, section 3.2): `steps` steps to a random neighbour, each with probability
    `restart` from the start node, else from the last node; then all edges among the visited nodes.
    Features are left out; `ego` `[N]` marks the node where the walk began. All walks run in parallel.
    In `clean` nothing is random: a walk's steps depend on the node's number.

    >>> from crl_graph.samplers.subgraphs import Subgraphs
    >>> from crl_graph.sources.roles import Roles
    >>> batch = Roles(copies=16).items("train").__getitems__([0, 1, 2])
    >>> views = Subgraphs(steps=32)(batch)
    >>> sorted(views), len(views["a"]), int(views["a"].data.ego.sum())
    (['a', 'b'], 3, 3)

    Args:
        steps: of each walk.
        restart: the probability.
    """

    views: ClassVar[tuple[str, ...]] = ("a", "b")

    def __init__(self, steps: int = 256, restart: float = 0.8) -> None:
        if steps < 1 or not 0 <= restart < 1:
            raise ValueError(f"there is a step, and restart is from 0 to below 1; not {steps}, {restart}")
        self.steps, self.restart = steps, restart
        self._kept = Kept()

    def __call__(self, batch: View) -> dict[str, View]:
        seed, edges = _seeds(batch)
        return {
            name: View(self._around(batch, torch.rand(2, self.steps, len(seed), device=edges.device)), batch.meta)
            for name in self.views
        }

    def clean(self, batch: View) -> View:
        seed, edges = _seeds(batch)
        number = torch.arange(2 * self.steps, device=edges.device, dtype=torch.float64).view(2, self.steps, 1)
        # Digits far behind the point, which look like chance.
        draw = ((seed * 12.9898 + number * 78.233).sin() * 43758.5453).remainder(1)
        return View(self._around(batch, draw), batch.meta)

    def _around(self, batch: View, draw: Tensor) -> GraphRows:
        seed, edges = _seeds(batch)
        graph: Adjacency = self._kept(Adjacency.of, edges, batch.data.num_nodes)
        met = walked(graph, seed, draw, self.restart)
        return induced(graph, met, seed)


def _seeds(batch: View) -> tuple[Tensor, Tensor]:
    edges = batch.data.edge_index
    asked = getattr(batch.data, "asked", None)
    return torch.arange(batch.data.num_nodes, device=edges.device) if asked is None else asked, edges


def walked(graph: Adjacency, seed: Tensor, draw: Tensor, restart: float) -> Tensor:
    """The nodes `[steps + 1, B]` of walks from `seed` `[B]`, by numbers `draw` `[2, steps, B]` from 0 to 1.

    A restart takes no step of its own: the next one leads on from the seed. Were it to take one, a walk that restarts
    four times in five would hardly move. Where there is no edge to go on by, a walk stays.
    """
    goes_on = F.pad(draw[0] >= restart, (0, 0, 0, 1))  # from the last step there is nowhere to go on to
    goes_on[0] = False
    met = seed.expand(len(goes_on), -1).clone()
    # All steps from a seed together, then all that follow one of those, and so on: as often as the longest way out.
    step, walker = (~goes_on[:-1]).nonzero(as_tuple=True)
    at = seed[walker]
    while len(step):
        at = _neighbour(graph, at, draw[1, step, walker])
        met[step + 1, walker] = at
        follows = goes_on[step + 1, walker]
        step, walker, at = step[follows] + 1, walker[follows], at[follows]
    return met


def _neighbour(graph: Adjacency, node: Tensor, draw: Tensor) -> Tensor:
    """The neighbour of each node that a number from 0 to 1 stands for; the node itself where it has none."""
    start, degree = graph.start[node], graph.start[node + 1] - graph.start[node]
    found = node.clone()
    able = degree > 0
    found[able] = graph.neighbour[start[able] + (draw[able] * degree[able]).long()]
    return found


def induced(graph: Adjacency, met: Tensor, seed: Tensor) -> GraphRows:
    """The subgraphs of the different nodes in each column of `met` `[L, B]`."""
    met = met.T.sort(1).values
    new = torch.cat([torch.ones_like(met[:, :1], dtype=torch.bool), met[:, 1:] != met[:, :-1]], 1)
    count = new.sum(1)
    # The different nodes of each row, side by side at its beginning.
    order = (~new).to(torch.int8).argsort(dim=1, stable=True)[:, : int(count.max())]
    node, there = met.gather(1, order), new.gather(1, order)
    linked = graph.have(node.unsqueeze(2), node.unsqueeze(1)) & there.unsqueeze(2) & there.unsqueeze(1)
    row, one, other = linked.nonzero(as_tuple=True)
    ptr = torch.cat([count.new_zeros(1), count.cumsum(0)])
    edges = torch.stack([ptr[row] + one, ptr[row] + other])
    owner = torch.arange(len(met), device=met.device).repeat_interleave(count)
    ego = (node == seed.unsqueeze(1))[there]
    return GraphRows(edge_index=edges, batch=owner, ptr=ptr, number=seed, ego=ego, num_nodes=int(ptr[-1]))
