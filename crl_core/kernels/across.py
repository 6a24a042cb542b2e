"""Both directions at once, on several processes: each computes the scores of its queries with the keys of all."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .. import distributed
from ..data.view import Embeddings
from .by_tiles import Tiles
from .formula import CandidateList, evaluate
from .task import Swept, Task


def across(task: Task, wanted: Sequence[bool], own: slice) -> Swept:
    """For a loss of one log-sum-exp: this process's queries, and below them its keys, which are also queries.

    A key gets one number from the tiles of the other processes, and sends one number back for the gradient. The
    gradient here is that of all processes' losses with respect to the scores of this process. The gradient of the keys
    is complete after it has been summed over the processes.

    Args:
        task: the queries of this process, and the keys of all.
        own: the keys of this process.
    """
    tiles, (positive, _) = Tiles(task, same=False), task.lists[0]
    count = len(task.query)
    lse, values = tiles.sums(), tiles.products()
    lse[count:] = distributed.logsumexp(lse[count:])
    of_keys, mine = _of_keys(task, values)
    candidates = CandidateList(positive.row, values, count, harmless=True, weight=positive.weight)
    there = evaluate(task.loss, candidates, None, [lse[:count]])
    # Every process computes the formula of all keys, because it needs their slopes.
    back = evaluate(task.loss, of_keys, None, [lse[count:]])
    slope = torch.cat([there.reduced[0], back.reduced[0]])
    gradients = tiles.gradients(wanted, slope, lse, there.positive + back.positive[mine])
    return Swept(
        torch.cat([there.values, back.values[own]]),
        torch.cat([there.terms, back.terms[own]]),
        torch.cat([there.counted, back.counted[own]]),
        *gradients,
    )


def _of_keys(task: Task, values: Tensor) -> tuple[CandidateList, Tensor]:
    """The positives of all keys, from all processes; and the places of this process's positives among them."""
    positive = task.lists[0][0]
    columns = {"column": positive.column}
    if positive.weight is not None:
        columns["weight"] = positive.weight
    table = distributed.gather(Embeddings(values.unsqueeze(1), columns))
    order = table.meta["column"].argsort(stable=True)
    weight = table.meta["weight"][order] if "weight" in table.meta else None
    candidates = CandidateList(
        table.meta["column"][order], table.z[order, 0], len(task.keys[0]), harmless=True, weight=weight
    )
    # Gathered rows keep the order of their process. The argsort of a permutation is its inverse.
    return candidates, order.argsort()[distributed.place(len(values), values.device)]
