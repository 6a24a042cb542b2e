from __future__ import annotations

from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import to_undirected

from crl_core import CrlError, check_split

from ..items import Nodes, checked, few_labelled


class Communities:
    """One generated graph of groups: nodes of one group are linked more often, and their words hint at the group.

    Every node has `degree` edges on average, of which a share `mixing` leads to random nodes, and ten words
    out of `words`: each is one of its group's with probability `signal`, or else any word. Words and edges together
    tell the groups apart better than either alone. Twenty nodes of each group have a label for training.

    >>> from crl_graph.sources.communities import Communities
    >>> view = Communities(nodes=200, groups=2, words=50).items("train").__getitems__([0, 1, 2])
    >>> view.data.x.shape, len(view)  # the whole graph, of which three nodes are asked for
    (torch.Size([200, 50]), 3)

    Args:
        nodes, groups, words: how many there are.
        degree: edges of a node, on average.
        mixing: the share of edges to nodes of any group.
        signal: the probability that a word is one of the group's.
        seed: of everything random.

    Raises:
        CrlError: a group has fewer than 30 nodes, or no word.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "val", "test")
    evaluators: ClassVar[tuple[str, ...]] = ("graph/node-classification",)

    def __init__(
        self,
        nodes: int = 1_500,
        groups: int = 6,
        degree: float = 5.0,
        mixing: float = 0.4,
        words: int = 600,
        signal: float = 0.3,
        seed: int = 0,
    ) -> None:
        if not (0 <= mixing <= 1 and 0 <= signal <= 1):
            raise CrlError(f"mixing and signal are from 0 to 1, not {mixing} and {signal}")
        if groups < 1 or words < groups or nodes < 30 * groups:
            raise CrlError(f"a group has 30 nodes and a word at least: {nodes} nodes, {words} words, {groups} groups")
        self.nodes, self.groups, self.degree, self.mixing = nodes, groups, degree, mixing
        self.words, self.signal, self.seed = words, signal, seed

    def items(self, split: str) -> Nodes:
        return self._made[check_split(split, self.splits)]

    @cached_property
    def _made(self) -> dict[str, Nodes]:
        generator = torch.Generator().manual_seed(self.seed)

        def chance(*shape: int) -> Tensor:
            return torch.rand(*shape, generator=generator)

        # Node n is in group n mod groups, so a node of the same group is a multiple of groups away.
        label = torch.arange(self.nodes) % self.groups
        count = round(self.nodes * self.degree / 2)
        one = (chance(count) * self.nodes).long()
        near = (chance(count) * (self.nodes // self.groups)).long() * self.groups + label[one]
        other = torch.where(chance(count) < self.mixing, (chance(count) * self.nodes).long(), near)
        kept = one != other
        edges = to_undirected(torch.stack([one[kept], other[kept]]), num_nodes=self.nodes)
        own = (chance(self.nodes, 10) * (self.words // self.groups)).long() * self.groups + label[:, None]
        word = torch.where(chance(self.nodes, 10) < self.signal, own, (chance(self.nodes, 10) * self.words).long())
        x = torch.zeros(self.nodes, self.words).scatter_(1, word, 1.0)
        return few_labelled(checked(Data(x=x, edge_index=edges)), label, 20, self.seed + 1)
