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
    """One generated graph of groups whose nodes are linked more often, with words that say little of the group.

    Every node has as many edges as `degree` on average, a share of `mixing` of them to nodes anywhere, and ten words
    of `words`, each from its group's part of them with a chance of `signal`, or else any. Neither words nor edges
    alone tell the groups apart as well as both do. Twenty nodes of each group have a label for training.

    Args:
        nodes, groups, words: how many there are.
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
