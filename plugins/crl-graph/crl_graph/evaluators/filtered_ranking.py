from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from torch import Tensor

from crl_core import CrlError, Pipeline, Source, View, device_of

from ..knowledge import KnowledgeGraph, knowledge_graph

_BLOCK = 1 << 22  # scores at a time


class FilteredRanking:
    """The rank of the true entity among all entities, for the tails and the heads of a split's triples.

    Other entities that make a triple known to be true, in any split, are left out (Bordes et al. 2013, "filtered").
    With ties the rank is the mean of the best and the worst possible rank (Berrendorf et al. 2020, "realistic").
    Figures are over both sides, and for each alone: the mean rank, the mean of its reciprocal (`mrr`), and the share of
    ranks up to 1, 3 and 10 (`hits@k`).

    It uses the first contrast of the pipeline: its query is made from the views `head` and `relation`, its key from
    the view `tail`.

    >>> import crl_core as crl
    >>> from crl_graph.evaluators.filtered_ranking import FilteredRanking
    >>> from crl_graph.sources.family_tree import FamilyTree
    >>> source = FamilyTree()
    >>> pipeline = crl.recipe("trans-e").pipeline
    >>> _ = pipeline.build(source.items("train").__getitems__([0, 1]), source)
    >>> sorted(FilteredRanking()(pipeline, source, "test"))[:4]
    ['hits@1', 'hits@1 (head)', 'hits@1 (tail)', 'hits@10']

    Raises:
        CrlError: the source has no triples, the split is empty, or the contrast is made from other views.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    takes: ClassVar[Literal["pipeline"]] = "pipeline"

    def __call__(self, pipeline: Pipeline, source: Source, split: str) -> dict[str, float]:
        ranks = filtered_ranks(pipeline, knowledge_graph(source), split)
        figures = {}
        for side, of_side in (("", torch.cat(list(ranks.values()))), *((f" ({side})", ranks[side]) for side in ranks)):
            figures[f"mrr{side}"] = float(of_side.reciprocal().mean())
            for k in (1, 3, 10):
                figures[f"hits@{k}{side}"] = float((of_side <= k).double().mean())
            figures[f"mean rank{side}"] = float(of_side.mean())
        return figures


def filtered_ranks(pipeline: Pipeline, graph: KnowledgeGraph, split: str) -> dict[str, Tensor]:
    """Of every triple of a split the rank of its head and of its tail, from 1 up: float64 `[N]` each.

    Raises:
        CrlError: there are no triples, or a score is not a number.
    """
    device = device_of(pipeline)
    asked = graph.items(split).data.to(device)
    if not len(asked):
        raise CrlError(f"the split {split!r} has no triples to rank")
    true = torch.cat([graph.items(name).data for name in graph.splits]).to(device)
    ranks = {side: torch.empty(len(asked), dtype=torch.float64, device=device) for side in ("head", "tail")}
    for rows, of_heads, of_tails in _by_relation(pipeline, asked, len(graph.entities)):
        here = asked[rows]
        facts = true[true[:, 1] == here[0, 1]]
        for side, scores, own, given in (("head", of_heads, 0, 2), ("tail", of_tails, 2, 0)):
            others = _others(here[:, given], here[:, own], facts[:, given], facts[:, own])
            ranks[side][rows] = ranks_among(scores, here[:, own], others)
    return ranks


def _by_relation(pipeline: Pipeline, asked: Tensor, entities: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Rows of `asked` with the same relation, and the scores `[n, entities]` of all heads and of all tails for them."""
    contrast = pipeline.contrasts[0]
    everything = torch.arange(entities, device=asked.device)
    tails = _embedded(pipeline, contrast.key, {"tail": everything})
    for relation in torch.unique(asked[:, 1]):
        # With its relation every entity is a query once, and serves all triples of this relation.
        views = {"head": everything.unsqueeze(0), "relation": relation.unsqueeze(0)}
        queries = _embedded(pipeline, contrast.query, views).squeeze(0)
        for rows in (asked[:, 1] == relation).nonzero().squeeze(1).split(max(1, _BLOCK // entities)):
            head, tail = asked[rows, 0], asked[rows, 2]
            yield rows, contrast.score(queries, tails[tail]).T, contrast.score(queries[head], tails)


def _embedded(pipeline: Pipeline, branch: str | tuple[str, ...] | None, data: dict[str, Tensor]) -> Tensor:
    if not isinstance(branch, str) or not set(pipeline.branches[branch].views) <= set(data):
        raise CrlError("ranking asks a contrast of a query made from head and relation, and a key made from the tail")
    views = {name: View(which, {"instance": which}) for name, which in data.items()}
    return pipeline.embed(views, branch)[branch].z


def _others(given: Tensor, own: Tensor, given_there: Tensor, true_there: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs (row, entity) of the entities that are true there too, where `given` is what a row is asked about.

    Args:
        own: the entity that is wanted, `[n]`.
        given_there, true_there: the same two entities of all facts of this relation, `[T]`.
    """
    there, order = given_there.sort()
    given = given.contiguous()
    start = torch.searchsorted(there, given)
    count = torch.searchsorted(there, given, right=True) - start
    row = torch.arange(len(given), device=given.device).repeat_interleave(count)
    before = count.cumsum(0) - count
    entity = true_there[order[start[row] + torch.arange(len(row), device=given.device) - before[row]]]
    other = entity != own[row]
    return row[other], entity[other]


def ranks_among(scores: Tensor, true: Tensor, others: tuple[Tensor, Tensor]) -> Tensor:
    """The rank of the true entity `[n]` by scores `[n, entities]`, without `others`: pairs (row, entity)."""
    if bool(scores.isnan().any()):
        raise CrlError("a score is not a number, so that nothing can be ranked by it")
    own = scores.gather(1, true.unsqueeze(1))
    scores = scores.index_put(others, scores.new_tensor(-torch.inf))
    above, level = (scores > own).sum(1), (scores == own).sum(1)  # level with itself too
    return above + (level + 1).double() / 2
