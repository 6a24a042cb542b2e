"""What a memory holds."""

from __future__ import annotations

from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor
from torch.nn.functional import normalize

from ...parts.keys.in_batch import InBatch
from ...protocols import Embeddings, Memory, OnEpoch
from ..outcome import Fails, Skips, expect, same_numbers
from ..plugin import Case

WIDTH = 5


def empty_at_first(case: Case) -> None:
    """Before the first update it holds nothing, and says so with None."""
    found = case.make().keys()
    expect(found is None, f"a fresh one holds {found!r}, expected None")


def holds_what_it_took(case: Case) -> None:
    """After an update it holds rows `[R, D]`; each that was taken as it came is beside its own columns."""
    memory = _fresh(case)
    given = _keys(6)
    held = _held(memory, given)
    expect(held.z.dim() == 2 and held.z.shape[1] == WIDTH, f"its keys are {list(held.z.shape)}, expected [R, {WIDTH}]")
    for name, column in held.meta.items():
        expect(column.shape == held.z.shape[:1], f"its column {name!r} is {list(column.shape)} for {len(held)} rows")
    for row, source in _taken(held, given):
        for name in set(held.meta) & set(given.meta):
            expect(bool(held.meta[name][row] == given.meta[name][source]), f"its column {name!r} belongs to other rows")


def keeps_the_metadata(case: Case) -> None:
    """Rows that it holds as they came keep all their columns."""
    memory = _fresh(case)
    given = _keys(6)
    held = _held(memory, given)
    if not _taken(held, given):
        raise Skips("it holds other rows than it takes")
    lost = set(given.meta) - set(held.meta)
    expect(not lost, f"it has lost the columns {', '.join(sorted(lost))}")


def holds_no_gradient(case: Case) -> None:
    """Its keys have no gradient, even if what it took had one."""
    memory, given = _fresh(case), _keys(6)
    held = _held(memory, Embeddings(given.z.requires_grad_(), given.meta))
    expect(not held.z.requires_grad, "its keys have a gradient, and would keep every step's graph in memory")


def owns_what_it_holds(case: Case) -> None:
    """What happens afterwards to the batch that it took changes nothing."""
    memory, given = _fresh(case), _keys(6)
    before = _held(memory, given).z.clone()
    given.z.zero_()
    same_numbers(_keys_of(memory).z, before, "its keys after the batch was overwritten", rtol=0, atol=0)


def takes_any_batch(case: Case) -> None:
    """Batches may have any number of rows: one, none, many."""
    memory = _fresh(case)
    for rows in (4, 1, 0, 7, 300):
        memory.update(_keys(rows))
    held = _keys_of(memory)
    expect(bool(held.z.isfinite().all()), "its keys are not finite")


def state_through_safetensors(case: Case) -> None:
    """Its state is tensors by name; a fresh one that takes them over goes on as the first does."""
    memory, fresh = _fresh(case), _fresh(case)
    _held(memory, _keys(6))
    state: dict[str, Tensor] = {name: x.clone().contiguous() for name, x in memory.state_dict().items()}  # type: ignore[attr-defined]
    fresh.load_state_dict(load(save(state)))  # type: ignore[attr-defined]
    for later in (False, True):
        for each in (memory, fresh) if later else ():
            each.update(_keys(4, start=20))
        wanted, found = _keys_of(memory), _keys_of(fresh)
        what = "its keys from the loaded state" + (", an update later" if later else "")
        same_numbers(found.z, wanted.z, what, rtol=0, atol=0)
        for name, column in wanted.meta.items():
            expect(name in found.meta, f"the column {name!r} is lost on the way through a file")
            same_numbers(found.meta[name], column, f"the column {name!r} {what}", rtol=0, atol=0)


def _fresh(case: Case) -> Memory:
    memory = case.make()
    if isinstance(memory, InBatch):
        raise Skips("it is there to hold nothing")
    return memory  # type: ignore[no-any-return]


def _keys(rows: int, start: int = 0) -> Embeddings:
    number = torch.arange(start, start + rows)
    generator = torch.Generator().manual_seed(start)
    columns = {"instance": number, "label": number % 3, "batch": number * 0 + start, "row": number}
    return Embeddings(torch.randn(rows, WIDTH, generator=generator), columns)


def _held(memory: Memory, given: Embeddings) -> Embeddings:
    memory.update(given)
    return _keys_of(memory)


def _keys_of(memory: Memory) -> Embeddings:
    held = memory.keys()
    if held is None and isinstance(memory, OnEpoch):
        raise Skips("it is filled before an epoch, not by batches")
    if held is None:
        raise Fails("after an update it still holds nothing (keys() is None)")
    return held


def _taken(held: Embeddings, given: Embeddings) -> list[list[Any]]:
    """Where a held row has the direction of one of those given, both places: its length may be another."""
    if held.z.shape[1] != WIDTH:
        return []
    cosine = normalize(held.z, dim=1) @ normalize(given.z.detach(), dim=1).T
    found: list[list[Any]] = (cosine > 1 - 1e-5).nonzero().tolist()
    return found
