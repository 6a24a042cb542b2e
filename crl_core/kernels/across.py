"""Both directions over several processes in one traversal: each makes its queries' scores with everybody's keys."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .. import distributed
from ..data.view import Embeddings
from .by_tiles import Tiles
from .formula import Few, evaluate
from .task import Swept, Task


def across(task: Task, wanted: Sequence[bool], own: slice) -> Swept:
    """For a loss of one log-sum-exp: this process's queries, and below them its keys, which are queries too.

    What a key has in other processes' tiles comes from them as one number, and so it goes back. The gradient is that
    of all processes' losses by the scores made here; the keys' is whole once it is summed over the processes.

    Args:
        task: this process's queries, and the keys of all.
        own: which of the keys are this process's.
    """
    tiles, (positive, _) = Tiles(task, same=False), task.lists[0]
    count = len(task.query)
    lse, values = tiles.sums(), tiles.products()
    lse[count:] = distributed.logsumexp(lse[count:])
    of_keys, mine = _of_keys(task, values)
    few = Few(positive.row, values, count, harmless=True, weight=positive.weight)
    there = evaluate(task.loss, few, None, [lse[:count]])
    # Every process evaluates the formula of all keys, of which it needs the slopes.
    back = evaluate(task.loss, of_keys, None, [lse[count:]])
    slope = torch.cat([there.reduced[0], back.reduced[0]])
    gradients = tiles.gradients(wanted, slope, lse, there.positive + back.positive[mine])
    return Swept(
        torch.cat([there.values, back.values[own]]),
        torch.cat([there.terms, back.terms[own]]),
        torch.cat([there.counted, back.counted[own]]),
        *gradients,
    )


def _of_keys(task: Task, values: Tensor) -> tuple[Few, Tensor]:
    """The positives of all keys, from all processes, and which of them, in which order, are this one's."""
    positive = task.lists[0][0]
    columns = {"column": positive.column}
    if positive.weight is not None:
        columns["weight"] = positive.weight
    table = distributed.gather(Embeddings(values.unsqueeze(1), columns))
    order = table.meta["column"].argsort(stable=True)
    weight = table.meta["weight"][order] if "weight" in table.meta else None
    few = Few(table.meta["column"][order], table.z[order, 0], len(task.keys[0]), harmless=True, weight=weight)
    # What is gathered keeps each process's order; of a permutation, argsort is the inverse.
    return few, order.argsort()[distributed.place(len(values), values.device)]
