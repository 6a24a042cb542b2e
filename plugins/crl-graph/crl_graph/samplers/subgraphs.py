from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch_geometric.data import Batch

from crl_core.protocols import View

from ..adjacency import Adjacency
from ..sparse import Kept


class Subgraphs:
    """Two subgraphs around each node asked for: what a walk meets that returns to it again and again.

    Random walk with restart, as in GCC (Qiu et al. 2020, section 3.2): from the node a walk of `steps` steps, which
    at each goes back to it with chance `restart`, and else on to a neighbour; then the edges among all that it met.
    A node's features are left out; `ego` `[N]` marks the node where the walk began. All walks go on together.
    Without chance, for `clean`, a walk's steps are decided by the node's number.
    """

    views: ClassVar[tuple[str, ...]] = ("a", "b")

    def __init__(self, steps: int = 64, restart: float = 0.8) -> None:
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

    def _around(self, batch: View, draw: Tensor) -> Batch:
        seed, edges = _seeds(batch)
        graph: Adjacency = self._kept(Adjacency.of, edges, batch.data.num_nodes)
        met = walked(graph, seed, draw, self.restart)
        return induced(graph, met, seed)


def _seeds(batch: View) -> tuple[Tensor, Tensor]:
    edges = batch.data.edge_index
    asked = getattr(batch.data, "asked", None)
    return torch.arange(batch.data.num_nodes, device=edges.device) if asked is None else asked, edges


def walked(graph: Adjacency, seed: Tensor, draw: Tensor, restart: float) -> Tensor:
    """The nodes `[B, steps + 1]` of walks from `seed` `[B]`, by numbers `draw` `[2, steps, B]` from 0 to 1.

    Where there is no edge to go on by, a walk stays.
    """
    degree, most = graph.degree, len(graph.neighbour) - 1
    at, met = seed, [seed]
    for back, way in zip(*draw, strict=True):
        place = graph.start[at] + (way * degree[at]).long()
        onward = torch.where(degree[at] > 0, graph.neighbour[place.clamp(max=most)], at) if most >= 0 else at
        at = torch.where(back < restart, seed, onward)
        met.append(at)
    return torch.stack(met, 1)


def induced(graph: Adjacency, met: Tensor, seed: Tensor) -> Batch:
    """The subgraphs of the different nodes in each row of `met` `[B, L]`."""
    met = met.sort(1).values
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
    return Batch(edge_index=edges, batch=owner, ptr=ptr, number=seed, ego=ego, num_nodes=int(ptr[-1]))
