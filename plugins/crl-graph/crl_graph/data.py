"""PyG's graphs that know what their rows are: the nodes that are asked for, or, of many graphs, each graph."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from crl_core import CrlError

# Edges, and what there is one of for each.
_EDGES = {"edge_index": ("edge_weight", "edge_attr"), "diffusion_index": ("diffusion_weight",)}
_PLACES = ("shuffle",)  # of nodes, which are numbers of nodes


class NodeRows(Data):  # type: ignore[misc]  # PyG has no types
    """One graph, whose rows are the nodes `asked` `[B]`, or all of them."""

    def row_count(self) -> int:
        return len(asked_of(self))

    def take_rows(self, index: Tensor) -> Self:
        """The same graph, of which other nodes are asked."""
        taken = copy.copy(self)
        asked = asked_of(self)
        taken.asked = asked[index.to(asked.device)]
        return taken

    def join_rows(self, others: Sequence[Self]) -> Self:
        """The nodes of all; different graphs stand side by side, without an edge between them."""
        graphs = [self, *others]
        joined = copy.copy(self)
        if all(_same(self, other) for other in others):
            joined.asked = torch.cat([asked_of(graph) for graph in graphs])
            return joined
        _side_by_side(joined, graphs)
        before = _before(graphs)
        joined.asked = torch.cat([asked_of(graph) + start for graph, start in zip(graphs, before, strict=True)])
        if "node" not in self:
            joined.node = torch.cat([torch.arange(_nodes(graph), device=joined.asked.device) for graph in graphs])
        return joined

    def finite_rows(self) -> Tensor | None:
        return None  # `checked` has refused what isn't


class GraphRows(Batch):  # type: ignore[misc]
    """Many graphs, each a row: `batch` `[N]` says which one a node belongs to, `ptr` `[G + 1]` where each begins."""

    def row_count(self) -> int:
        return len(self.ptr) - 1

    def take_rows(self, index: Tensor) -> Self:
        index = index.to(self.ptr.device)
        starts, count = self.ptr, _nodes(self)
        node, batch, ptr = gathered(starts, index)
        taken, done = copy.copy(self), {"batch", "ptr", "num_nodes"}
        shift = ptr[:-1] - starts[index]  # by how much a graph's nodes have moved
        for name, more in _EDGES.items():
            if name not in self:
                continue
            edges = self[name]
            order, counts = _by_graph(self.batch[edges[0]], self.row_count())
            place, of, _ = gathered(counts, index)
            place = order[place]
            taken[name] = edges[:, place] + shift[of]
            for each in (each for each in more if self.get(each) is not None):
                taken[each] = self[each][place]
            done |= {name, *more}
        for name, value in self.to_dict().items():
            if name in done or not isinstance(value, Tensor) or not value.dim():
                continue
            if len(value) == count:
                taken[name] = value[node] + (shift[batch] if name in _PLACES else 0)
            elif len(value) == self.row_count():
                taken[name] = value[index]
        taken.batch, taken.ptr, taken.num_nodes = batch, ptr, len(node)
        return taken

    def join_rows(self, others: Sequence[Self]) -> Self:
        graphs = [self, *others]
        joined = copy.copy(self)
        _side_by_side(joined, graphs)
        counts = torch.cat([graph.ptr.diff() for graph in graphs])
        joined.ptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        joined.batch = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
        return joined

    def finite_rows(self) -> Tensor | None:
        return None


def asked_of(graph: Data) -> Tensor:
    """The nodes `[B]` of a graph that are asked for."""
    asked: Tensor | None = graph.get("asked")
    return torch.arange(_nodes(graph), device=graph.edge_index.device) if asked is None else asked


def gathered(starts: Tensor, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The places of these stretches' members, which stretch each is in, and where each begins when side by side."""
    counts = starts[index + 1] - starts[index]
    ptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    of = torch.repeat_interleave(torch.arange(len(index), device=starts.device), counts)
    return torch.arange(int(ptr[-1]), device=starts.device) - ptr[of] + starts[index][of], of, ptr


def _by_graph(graph: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """An order of the edges by the graphs `[E]` that they are in, and where each graph's begin then."""
    counts = torch.bincount(graph, minlength=count)
    return graph.argsort(stable=True), torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def _nodes(graph: Data) -> int:
    return int(graph.num_nodes or 0)


def _before(graphs: Sequence[Data]) -> list[int]:
    """How many nodes stand before each graph's."""
    counts = [0]
    for graph in graphs:
        counts.append(counts[-1] + _nodes(graph))
    return counts[:-1]


def _same(one: Data, other: Data) -> bool:
    """Whether two are one and the same graph, but for the nodes that are asked."""
    mine, theirs = ({name: value for name, value in each.to_dict().items() if name != "asked"} for each in (one, other))
    return mine.keys() == theirs.keys() and all(
        value is theirs[name] or (not isinstance(value, Tensor) and bool(value == theirs[name]))
        for name, value in mine.items()
    )


def _side_by_side(joined: Any, graphs: Sequence[Data]) -> None:
    """Puts the nodes and the edges of all graphs into `joined`.

    Raises:
        CrlError: one has what another lacks.
    """
    before = _before(graphs)
    skipped = {"asked", "batch", "ptr", "num_nodes"}
    names = [sorted(set(graph.to_dict()) - skipped) for graph in graphs]
    if any(each != names[0] for each in names):
        raise CrlError(f"graphs with different parts can't be joined: {', '.join(names[0])} and {', '.join(names[-1])}")
    for name in names[0]:
        values = [graph[name] for graph in graphs]
        if not isinstance(values[0], Tensor):
            continue
        shifted = name in _EDGES or name in _PLACES
        parts = [value + start if shifted else value for value, start in zip(values, before, strict=True)]
        joined[name] = torch.cat(parts, 1 if name in _EDGES else 0)
    joined.num_nodes = before[-1] + _nodes(graphs[-1])
