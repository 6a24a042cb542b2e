"""Graphs whose items are the numbers of their nodes: for what is learned of each node by itself."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from crl_core import CrlError, Source, View, did_you_mean

from .adjacency import Adjacency

log = logging.getLogger("crl")


class NodeNumbers:
    """Numbers of nodes, fetched by index; only those that have an edge stand in a batch of training."""

    def __init__(self, node: Tensor, label: Tensor | None, goes_on: Tensor) -> None:
        self.node, self.label, self.goes_on = node, label, goes_on

    def __len__(self) -> int:
        return len(self.node)

    def __getitems__(self, indices: list[int]) -> View:
        index = torch.tensor(indices)
        label = {} if self.label is None else {"label": self.label[index]}
        return View(self.node[index], {"instance": index, **label})

    def batches(self, batch_size: int, generator: torch.Generator) -> list[list[int]]:
        """All that can be walked from, in any order; the last batch is as large as it comes."""
        some = self.goes_on.nonzero().squeeze(1)
        order = some[torch.randperm(len(some), generator=generator)]
        places: list[int] = order.tolist()
        return [places[start : start + batch_size] for start in range(0, len(places), batch_size)]


class Network:
    """What sources of a graph for walks have in common.

    All nodes are for training. Where they have labels, those of a fifth are held out, in `test`; else the nodes come
    again in `nodes`, for evaluators that need no labels.

    Attributes:
        names: of the nodes; their numbers are places in it.
        label: `[N]`, or None.
    """

    def __init__(self, adjacency: Adjacency, names: Sequence[str], label: Tensor | None = None) -> None:
        self.adjacency, self.names, self.label = adjacency, tuple(names), label
        if not len(adjacency.number):
            raise CrlError("the graph has no edges")
        if lonely := int((adjacency.degree == 0).sum()):
            log.warning("%d of %d nodes have no edge to walk along: no walk begins there", lonely, len(adjacency))

    @property
    def evaluators(self) -> tuple[str, ...]:
        return ("graph/communities",) if self.label is None else ("core/linear", "graph/communities")

    @property
    def splits(self) -> tuple[str, ...]:
        return ("train", "nodes") if self.label is None else ("train", "test")

    @property
    def counts(self) -> dict[str, int]:
        return {"nodes": len(self.adjacency)}

    def items(self, split: str) -> NodeNumbers:
        if split not in self.splits:
            raise CrlError(f"no split {split!r}; there are {', '.join(self.splits)}.{did_you_mean(split, self.splits)}")
        node, goes_on = torch.arange(len(self.adjacency)), self.adjacency.degree > 0
        if self.label is None:
            return NodeNumbers(node, None, goes_on)
        order = torch.randperm(len(node), generator=torch.Generator().manual_seed(0))
        held = order[: max(1, len(node) // 5)]
        if split == "test":
            return NodeNumbers(node[held], self.label[held], goes_on[held])
        return NodeNumbers(node, self.label.index_fill(0, held, -1), goes_on)


def network(source: Source) -> Network:
    """The source, if its items are numbers of nodes.

    Raises:
        CrlError: they are something else.
    """
    if not isinstance(source, Network):
        raise CrlError(
            f"{type(source).__name__} gives no numbers of nodes to walk from; graph/edge-list reads a graph from "
            f"a file, graph/networkx has some"
        )
    return source
