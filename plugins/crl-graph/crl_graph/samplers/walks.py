from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from crl_core import CrlError, Items, Source, View, Views

from ..adjacency import Adjacency
from ..knowledge import without_source
from ..network import network
from ..walk import walk


class Walks:
    """Pairs of nodes that are near each other on random walks, and noise (node2vec, Grover and Leskovec 2016).

    Each node of the batch begins one walk. Each of its P pairs of a node and another node within the window is a row:
    `centre` `[P]`, and `context` `[P, 1 + noise]`, of which the first is the other node and the rest is noise. Windows
    are of random width from 1 to `window`, as in word2vec: near nodes count more. The column `pair` is the pair's
    number, and -1 for noise; noise that equals the context is no candidate (column `valid`). Rows have the columns of
    the item that began the walk.

    >>> import crl_core as crl
    >>> from crl_graph.samplers.walks import Walks
    >>> from crl_graph.sources.networkx import NetworkX
    >>> source, sampler = NetworkX("karate"), Walks(length=10, window=2, noise=5)
    >>> items = source.items("train")
    >>> sampler.on_source(items, source)
    >>> views = sampler(items.__getitems__([0, 1]))
    >>> views["context"].data.shape[1], len(views["centre"]) == len(views["context"])
    (6, True)

    Args:
        length: nodes in a walk.
        window: the maximum distance on the walk.
        p: the higher, the less often a walk steps back at once.
        q: above 1 walks stay near their start, and nodes in similar positions become alike; below 1 they move away,
            and nodes of one community become alike.
        noise: nodes for each pair, drawn in proportion to how often walks visit them, to the power ¾.

    Raises:
        CrlError: the source is no graph of numbered nodes, or it has not been seen yet.
    """

    views: ClassVar[tuple[str, ...]] = ("centre", "context")

    def __init__(self, length: int = 80, window: int = 10, p: float = 1.0, q: float = 1.0, noise: int = 5) -> None:
        if length < 2 or window < 1 or noise < 1:
            raise CrlError(f"a walk has 2 nodes or more, and 1 of window and noise, not {length}, {window} and {noise}")
        if not (p > 0 and q > 0):
            raise CrlError(f"p and q are above 0, not {p} and {q}")
        self.length, self.window, self.p, self.q, self.noise = length, window, p, q, noise
        self._graph: Adjacency | None = None
        self._height: Tensor | None = None  # of the noise: counted when it is first drawn

    @staticmethod
    def upgrade(options: dict[str, Any]) -> dict[str, Any]:
        """The source was once an option; now it is the run's."""
        return without_source(options)

    def on_source(self, items: Items, source: Source) -> None:
        self._graph, self._height = network(source).adjacency, None

    def __call__(self, batch: View) -> Views:
        if self._graph is None:
            raise CrlError("Walks doesn't know its source yet: call pipeline.build(batch, source), or fit")
        self._graph = graph = self._graph.to(batch.data.device)
        walks = walk(graph, batch.data, self.length, self.p, self.q)
        row, centre, context = window_pairs(walks, self.window)
        if not len(row):
            raise CrlError(f"none of these {len(batch)} nodes has an edge to walk along: {batch.data[:10].tolist()}")
        noise = self._noise(graph, len(row))
        columns = {name: column[row] for name, column in batch.meta.items()}
        pair, context = torch.arange(len(row), device=row.device).unsqueeze(1), context.unsqueeze(1)
        meta = {
            "pair": torch.cat([pair, torch.full_like(noise, -1)], dim=1),
            "valid": torch.cat([torch.ones_like(pair, dtype=torch.bool), noise != context], dim=1),
        }
        return {
            "centre": View(centre, {**columns, "pair": pair.squeeze(1)}),
            "context": View(torch.cat([context, noise], dim=1), {**columns, **meta}),
        }

    def clean(self, batch: View) -> View:
        return batch

    def _noise(self, graph: Adjacency, count: int) -> Tensor:
        """`[count, noise]` nodes."""
        device = graph.start.device
        if self._height is None:
            self._height = self._counted(graph.to(torch.device("cpu")))
        self._height = self._height.to(device)
        chance = torch.rand(count, self.noise, dtype=torch.float64, device=device) * self._height[-1]
        return torch.searchsorted(self._height, chance, right=True).clamp_(max=len(self._height) - 1)

    def _counted(self, graph: Adjacency) -> Tensor:
        """Sums `[N]` of the ¾ powers of how often each node is on walks, of which every node begins one."""
        generator = torch.Generator().manual_seed(0)  # the same noise for every run, and after it was interrupted
        count = torch.zeros(len(graph), dtype=torch.float64, device=graph.start.device)
        for first in range(0, len(graph), 1 << 16):
            start = torch.arange(first, min(first + (1 << 16), len(graph)), device=count.device)
            walks = walk(graph, start, self.length, self.p, self.q, generator)
            count += torch.bincount(walks[walks >= 0], minlength=len(graph))
        return (count**0.75).cumsum(0)


def window_pairs(walks: Tensor, window: int) -> tuple[Tensor, Tensor, Tensor]:
    """Row, centre and context `[P]` of the pairs of nodes on walks `[W, L]` that are within a window of each other.

    The window of every centre is drawn from 1 to `window`. Behind a walk's end, where it is -1, there are no pairs.
    """
    width, length = walks.shape
    shift = torch.arange(-window, window + 1, device=walks.device)
    shift = shift[shift != 0]
    place = torch.arange(length, device=walks.device).unsqueeze(1) + shift
    inside = (place >= 0) & (place < length)
    context = walks[:, place.clamp(0, length - 1)]
    reach = torch.randint(1, window + 1, (width, length, 1), device=walks.device)
    there = (walks >= 0).unsqueeze(2) & (context >= 0)
    row, at, which = (there & inside & (shift.abs() <= reach)).nonzero(as_tuple=True)
    return row, walks[row, at], context[row, at, which]
