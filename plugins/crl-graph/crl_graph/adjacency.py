"""Who is a neighbour of whom, for walks of thousands at a time: memory in proportion to the edges."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from crl_core import CrlError


@attrs.frozen(eq=False)
class Adjacency:
    """Edges sorted by the node that they leave, then by the one that they reach; each once.

    Attributes:
        start: `[N + 1]`, where each node's edges begin among all.
        neighbour: `[E]`, the node that an edge reaches.
        number: `[E]`, from · N + to, by which an edge is found.
        height: `[E + 1]`, float64: the sum of all weights before an edge; None where all weigh the same.
    """

    start: Tensor
    neighbour: Tensor
    number: Tensor
    height: Tensor | None

    @staticmethod
    def of(edges: Tensor, nodes: int, weight: Tensor | None = None, directed: bool = False) -> Adjacency:
        """From edges `[2, E]`; duplicate ones count once, and weigh what they weigh together. Loops stay.

        Args:
            weight: `[E]`, above 0.
            directed: by default every edge can be walked both ways.

        Raises:
            CrlError: an edge leads out of the graph, or a weight is not above 0.
        """
        if edges.numel() and (int(edges.min()) < 0 or int(edges.max()) >= nodes):
            raise CrlError(f"edges lead from {int(edges.min())} to {int(edges.max())}, the nodes are 0 to {nodes - 1}")
        if weight is not None and not bool((weight.isfinite() & (weight > 0)).all()):
            raise CrlError("weights of edges are finite numbers above 0; leave out edges that can't be walked")
        if not directed:
            other = edges[0] != edges[1]  # a loop has one direction
            edges = torch.cat([edges, edges[:, other].flip(0)], dim=1)
            weight = None if weight is None else torch.cat([weight, weight[other]])
        number, place = torch.unique(edges[0] * nodes + edges[1], return_inverse=True)
        start = torch.searchsorted(number, torch.arange(nodes + 1, device=number.device) * nodes)
        height = None
        if weight is not None:
            together = torch.zeros(len(number), dtype=torch.float64, device=number.device)
            height = torch.nn.functional.pad(together.index_add_(0, place, weight.double()).cumsum(0), (1, 0))
        return Adjacency(start, number % nodes, number, height)

    def __len__(self) -> int:
        return len(self.start) - 1

    @property
    def degree(self) -> Tensor:
        """`[N]`, how many edges leave a node."""
        return self.start.diff()

    def strength(self, node: Tensor) -> Tensor:
        """What the edges that leave these nodes weigh together."""
        if self.height is None:
            return (self.start[node + 1] - self.start[node]).double()
        return self.height[self.start[node + 1]] - self.height[self.start[node]]

    def weight(self, one: Tensor, other: Tensor) -> Tensor:
        """What the edge between two nodes weighs; 0 where there is none."""
        place = self._place(one, other)
        there = self.number[place] == one * len(self) + other
        if self.height is None:
            return there.double()
        return torch.where(there, self.height[place + 1] - self.height[place], 0.0)

    def have(self, one: Tensor, other: Tensor) -> Tensor:
        """Whether there is an edge between two nodes: bool."""
        return self.number[self._place(one, other)] == one * len(self) + other

    def draw(self, node: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A neighbour of each of these nodes, which have one, by the weights of their edges."""
        chance = torch.rand(node.shape, dtype=torch.float64, device=node.device, generator=generator)
        low, high = self.start[node], self.start[node + 1]
        if self.height is None:
            place = low + (chance * (high - low)).long()
        else:
            height = self.height[low] + chance * (self.height[high] - self.height[low])
            place = torch.searchsorted(self.height, height, right=True) - 1
        return self.neighbour[torch.minimum(place, high - 1)]

    def to(self, device: torch.device) -> Adjacency:
        height = None if self.height is None else self.height.to(device)
        return Adjacency(self.start.to(device), self.neighbour.to(device), self.number.to(device), height)

    def _place(self, one: Tensor, other: Tensor) -> Tensor:
        return torch.searchsorted(self.number, one * len(self) + other).clamp_(max=len(self.number) - 1)
