from __future__ import annotations

import copy
import math
from typing import ClassVar, Literal

import torch
from torch import Tensor

from crl_core import View

from ..sparse import Kept, Sparse, propagation
from .feature_shuffle import FeatureShuffle

_COLUMNS = 1 << 22  # numbers in a block of columns


class Diffusion:
    """The graph, with the edges of a diffusion over it: `diffusion_index` `[2, E]`, `diffusion_weight` `[E]`.

    With T = D^-½ (A + I) D^-½, "ppr" is personalised PageRank, α (I - (1 - α) T)⁻¹, and "heat" exp(t (T - I)), both
    summed to an error of 10^-6. (Klicpera et al. 2019, equation 1; MVGRL, Hassani and Khasahmadi 2020, equation 2)

    >>> from crl_graph.samplers.diffusion import Diffusion
    >>> from crl_graph.sources.communities import Communities
    >>> batch = Communities(nodes=200).items("train").__getitems__([0, 1])
    >>> graph = Diffusion(top=10)(batch)["graph"].data
    >>> graph.diffusion_index.shape[1] == len(graph.diffusion_weight) > 0
    True

    Args:
        kind: "ppr" or "heat".
        alpha: α, the probability to restart at each step of "ppr".
        time: t of "heat".
        top: the number of weights into each node that are kept, the largest.
        threshold: smaller weights are dropped.
        shuffle: also draw an order of the nodes, as `FeatureShuffle` does.
    """

    views: ClassVar[tuple[str, ...]] = ("graph",)

    def __init__(
        self,
        kind: Literal["ppr", "heat"] = "ppr",
        alpha: float = 0.2,
        time: float = 5.0,
        top: int = 128,
        threshold: float = 1e-4,
        shuffle: bool = False,
    ) -> None:
        if not 0 < alpha < 1 or not time > 0 or top < 1:
            raise ValueError(f"alpha is between 0 and 1, time above 0, top 1 or more; not {alpha}, {time}, {top}")
        if kind not in ("ppr", "heat"):
            raise ValueError(f'the kind is "ppr" or "heat", not {kind!r}')
        self.kind, self.alpha, self.time, self.top, self.threshold = kind, alpha, time, top, threshold
        self.shuffle = shuffle
        self._shuffled, self._kept = FeatureShuffle(), Kept()

    def __call__(self, batch: View) -> dict[str, View]:
        drawn = self._shuffled(batch)["graph"] if self.shuffle else batch
        return {"graph": self.clean(drawn)}

    def clean(self, batch: View) -> View:
        graph = copy.copy(batch.data)
        graph.diffusion_index, graph.diffusion_weight = self._kept(
            self._diffused, graph.edge_index, graph.num_nodes, getattr(graph, "ptr", None)
        )
        return View(graph, batch.meta)

    def _diffused(self, edges: Tensor, nodes: int, ptr: Tensor | None) -> tuple[Tensor, Tensor]:
        return diffused(propagation(edges, None, nodes), ptr, self._weights(), self.top, self.threshold)

    def _weights(self) -> list[float]:
        """Of T⁰, T¹, T², …"""
        if self.kind == "ppr":
            steps = math.ceil(math.log(1e-6) / math.log(1 - self.alpha))
            return [self.alpha * (1 - self.alpha) ** k for k in range(steps)]
        steps = math.ceil(self.time + 12 * math.sqrt(self.time) + 12)  # far out in the Poisson distribution's tail
        return [math.exp(k * math.log(self.time) - self.time - math.lgamma(k + 1)) for k in range(steps)]


def diffused(by: Sparse, ptr: Tensor | None, weights: list[float], top: int, threshold: float) -> tuple[Tensor, Tensor]:
    """The largest entries of Σ weights[k] · by^k, as edges `[2, E]` and their weights.

    Of many graphs the nodes with the same place in theirs start in one column, since nothing flows between graphs:
    so there are as many columns as the largest has nodes. A block of columns at a time, never N × N.
    """
    nodes, device = by.matrix.shape[0], by.matrix.device
    bounds = torch.tensor([0, nodes], device=device) if ptr is None else ptr
    begin = bounds[:-1].repeat_interleave(bounds.diff())
    place = torch.arange(nodes, device=device) - begin
    most = int(bounds.diff().max())
    edges, values = [], []
    for first in range(0, most, width := max(1, _COLUMNS // nodes)):
        spread = _spread(by, place - first, min(width, most - first), weights)
        value, column = spread.topk(min(top, spread.shape[1]), 1)
        target, rank = (value > threshold).nonzero(as_tuple=True)
        edges.append(torch.stack([begin[target] + first + column[target, rank], target]))
        values.append(value[target, rank])
    return _top(torch.cat(edges, 1), torch.cat(values), nodes, top)


def _spread(by: Sparse, column: Tensor, width: int, weights: list[float]) -> Tensor:
    """Where what starts at the nodes of these columns is in the end, `[N, width]`."""
    node = ((column >= 0) & (column < width)).nonzero().flatten()
    flow = torch.zeros(len(column), width, device=column.device)
    flow[node, column[node]] = 1.0
    total = weights[0] * flow
    for weight in weights[1:]:
        flow = by @ flow
        total.add_(flow, alpha=weight)
    return total


def _top(edges: Tensor, value: Tensor, nodes: int, top: int) -> tuple[Tensor, Tensor]:
    """For every target the largest of what all blocks of columns gave."""
    order = value.argsort(descending=True, stable=True)
    order = order[edges[1, order].argsort(stable=True)]
    count = torch.bincount(edges[1], minlength=nodes)
    rank = torch.arange(len(order), device=value.device) - (count.cumsum(0) - count).repeat_interleave(count)
    kept = order[rank < top]
    return edges[:, kept], value[kept]
