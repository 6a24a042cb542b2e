from __future__ import annotations

import inspect
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor
from torch_geometric.data import Data

from crl_core import CrlError, check_split, did_you_mean

from ..items import Graphs, Nodes, checked, with_features

FOLDS = "folds"


class PyG:
    """A data set of torch_geometric.datasets, by name; downloaded if it is missing.

    One graph: the items are its nodes. All of them are for training, with the labels of the data set's training
    nodes only (the others have -1); `val` and `test` are those of the data set, or else 10 % of the nodes
    each for training labels and `val`, drawn once, and the rest for `test`.
    Many graphs: all are for training, and `folds` holds the same graphs again, for evaluators that do their own
    cross-validation.

    >>> from crl_graph.sources.pyg import PyG
    >>> source = PyG("KarateClub")  # which PyG need not download
    >>> {split: len(source.items(split)) for split in source.splits}
    {'train': 34, 'val': 3, 'test': 28}

    Args:
        dataset: the class, such as "Planetoid" or "TUDataset".
        name: of the data set, if the class has several: "Cora", "MUTAG".
        root: folder of the data.
        features: "given"; or for graphs without features, "degree" (one-hot, 32 classes) or "ones".

    Raises:
        CrlError: there is no such data set, or it is missing and can't be downloaded.
    """

    def __init__(
        self,
        dataset: str = "KarateClub",
        name: str | None = None,
        root: str = "data",
        features: Literal["given", "degree", "ones"] = "given",
    ) -> None:
        self.dataset, self.name, self.root, self.features = dataset, name, root, features

    @property
    def splits(self) -> tuple[str, ...]:
        return ("train", FOLDS) if len(self._data) > 1 else ("train", "val", "test")

    @property
    def evaluators(self) -> tuple[str, ...]:
        if len(self._data) > 1:
            return ("graph/graph-classification", "graph/weisfeiler-lehman")
        return ("graph/node-classification",)

    def items(self, split: str) -> Nodes | Graphs:
        check_split(split, self.splits)
        if len(self._data) > 1:
            return self._graphs
        graph, label, chosen = self._nodes
        if split != "train":
            return Nodes(graph, chosen[split], label)
        known = torch.full_like(label, -1)
        known[chosen["train"]] = label[chosen["train"]]
        return Nodes(graph, torch.arange(len(label)), known)

    @cached_property
    def _graphs(self) -> Graphs:
        graphs = [with_features(graph, self.features) for graph in self._data]
        unknown = torch.tensor([-1])
        label = [unknown if graph.y is None else graph.y.view(-1)[:1].long() for graph in graphs]
        return Graphs(graphs, torch.cat(label))

    @cached_property
    def _nodes(self) -> tuple[Data, Tensor, dict[str, Tensor]]:
        found = with_features(self._data[0], self.features)
        nodes = int(found.num_nodes or 0)
        label = torch.full((nodes,), -1) if found.y is None else found.y.view(-1).long()
        if len(label) != nodes:
            raise CrlError(f"{self.dataset} has {len(label)} labels for {nodes} nodes: only one label a node is read")
        return checked(found), label, _chosen(found, nodes)

    @cached_property
    def _data(self) -> Any:
        from torch_geometric import datasets

        known = list(datasets.__all__)
        if self.dataset not in known:
            raise CrlError(f"torch_geometric.datasets has no {self.dataset!r}.{did_you_mean(self.dataset, known)}")
        made = getattr(datasets, self.dataset)
        options = {"root": self.root, "name": self.name}
        taken = inspect.signature(made.__init__).parameters
        try:
            return made(**{key: value for key, value in options.items() if key in taken and value is not None})
        except (OSError, RuntimeError, ValueError, AssertionError, TypeError) as error:
            raise CrlError(
                f"{self.dataset} {self.name or ''} is not in the folder {self.root!r}, and could not be downloaded or "
                f"read: {error}. Put PyG's files there, or use other graphs: source=graph/communities"
            ) from error


def _chosen(graph: Data, nodes: int) -> dict[str, Tensor]:
    """The nodes of every split."""
    names = ("train", "val", "test")
    masks = [graph[f"{name}_mask"] for name in names if f"{name}_mask" in graph]
    if len(masks) == len(names):
        # Where a data set has several splits, the first.
        return {name: mask.view(nodes, -1)[:, 0].nonzero().flatten() for name, mask in zip(names, masks, strict=True)}
    order = torch.randperm(nodes, generator=torch.Generator().manual_seed(0))
    tenth = max(1, nodes // 10)
    parts = order[:tenth], order[tenth : 2 * tenth], order[2 * tenth :]
    return {name: part.sort().values for name, part in zip(names, parts, strict=True)}
