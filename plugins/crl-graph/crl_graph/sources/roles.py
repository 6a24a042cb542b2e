from __future__ import annotations

from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import to_undirected

from crl_core import CrlError, check_split

from ..items import Nodes, checked, few_labelled, with_features

# Edges among five nodes, of which the first is fastened to the ring, and what part each node plays.
SHAPES: dict[str, tuple[list[tuple[int, int]], list[int]]] = {
    "house": ([(0, 1), (1, 2), (2, 3), (3, 0), (2, 4), (3, 4)], [0, 0, 1, 1, 2]),
    "fan": ([(0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (2, 3), (3, 4)], [3, 4, 5, 5, 4]),
    "star": ([(0, 1), (0, 2), (0, 3), (0, 4)], [6, 7, 7, 7, 7]),
    "clique": ([(0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (1, 3), (1, 4), (2, 3), (2, 4), (3, 4)], [8, 9, 9, 9, 9]),
    "loop": ([(0, 1), (1, 2), (2, 3), (3, 4), (4, 0)], [10, 11, 12, 12, 11]),
}
BETWEEN, FASTENED = 13, 14


class Roles:
    """One generated graph, a ring with small shapes along it; a node's label is its part in the shape.

    A house, fan, star, clique or loop hangs on every other node of the ring, as in GraphWave (Donnat et al. 2018). Then
    random edges are added, a share `noise` of all edges. Nodes with the same part lie anywhere on the ring, so that
    only the structure around a node tells its part, not the nodes near it. Ten nodes of each of the 15 parts have a
    label for training. Features are degrees.

    >>> from crl_graph.sources.roles import Roles
    >>> view = Roles(copies=16).items("train").__getitems__([0, 1])
    >>> view.data.num_nodes, len(view)
    (560, 2)

    Args:
        copies: of each shape, 16 at least; a shape has seven nodes with its two nodes of the ring.
        noise: random edges, as a share of all edges.
        seed: of everything random.

    Raises:
        CrlError: a number is out of its range.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "val", "test")
    evaluators: ClassVar[tuple[str, ...]] = ("graph/node-classification",)

    def __init__(self, copies: int = 40, noise: float = 0.1, seed: int = 0) -> None:
        if copies < 16 or not 0 <= noise <= 1:
            raise CrlError(f"there are 16 copies of each shape at least, and noise is from 0 to 1: {copies}, {noise}")
        self.copies, self.noise, self.seed = copies, noise, seed

    def items(self, split: str) -> Nodes:
        return self._made[check_split(split, self.splits)]

    @cached_property
    def _made(self) -> dict[str, Nodes]:
        generator = torch.Generator().manual_seed(self.seed)
        edges, label = self._ring(generator)
        extra = torch.randint(len(label), (2, round(self.noise * edges.shape[1])), generator=generator)
        edges = to_undirected(torch.cat([edges, extra[:, extra[0] != extra[1]]], 1), num_nodes=len(label))
        graph = checked(with_features(Data(edge_index=edges, num_nodes=len(label)), "degree"))
        return few_labelled(graph, label, 10, self.seed + 1)

    def _ring(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Edges `[2, E]` and labels `[N]`: the ring's nodes first, then the shapes in the order they hang there."""
        shapes = list(SHAPES.values()) * self.copies
        ring = torch.arange(2 * len(shapes))
        edges, label = [torch.stack([ring, ring.roll(-1)])], [torch.tensor([FASTENED, BETWEEN]).repeat(len(shapes))]
        for place, which in enumerate(torch.randperm(len(shapes), generator=generator).tolist()):
            pairs, parts = shapes[which]
            first = len(ring) + 5 * place
            edges += [torch.tensor(pairs).T + first, torch.tensor([[2 * place], [first]])]
            label.append(torch.tensor(parts))
        return torch.cat(edges, 1), torch.cat(label)
