"""Checks of memories and of choices of candidates."""

from __future__ import annotations

from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor
from torch.nn.functional import normalize

from ...contracts.optional import OnEpoch
from ...contracts.parts import Memory
from ...data.pairs import Pairs
from ...data.relation import same
from ...data.view import Embeddings
from ...method.contrast import Contrast
from ...parts.keys.per_query import PerQuery
from ...parts.losses.info_nce import InfoNCE
from ..outcome import Fails, Skips, expect, finite, same_numbers
from ..plugin import Case

WIDTH = 5


def works_in_a_contrast(case: Case) -> None:
    """Two steps of a contrast with these keys have a finite loss and a finite gradient."""
    keys = case.make()
    contrast = Contrast("query", "key", loss=InfoNCE(), positive=_POSITIVE, negative=_NEGATIVE, keys=keys).train()
    for step in range(2):
        query, key = _keys(6, start=10 * step), _keys(6, start=10 * step, seed=1)
        if isinstance(keys, PerQuery):
            key = _several(key)
        leaf = query.z.requires_grad_()
        value = contrast({"query": Embeddings(leaf, query.meta), "key": key}).value
        (gradient,) = torch.autograd.grad(value, leaf)
        finite([value.detach(), gradient], "the loss or its gradient")
        contrast.settle()


# -- of a memory ----------------------------------------------------------------------------------------------


def empty_at_first(case: Case) -> None:
    """Before the first update, `keys` returns None."""
    found = _fresh(case).keys()
    expect(found is None, f"a fresh one holds {found!r}, expected None")


def holds_what_it_took(case: Case) -> None:
    """After an update it holds rows `[R, D]`; each row that it took unchanged has its own columns."""
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
    """Rows that it holds unchanged keep all their columns."""
    memory = _fresh(case)
    given = _keys(6)
    held = _held(memory, given)
    if not _taken(held, given):
        raise Skips("it changes the rows that it takes")
    lost = set(given.meta) - set(held.meta)
    expect(not lost, f"it has lost the columns {', '.join(sorted(lost))}")


def holds_no_gradient(case: Case) -> None:
    """Its keys have no gradient, even if what it took had one."""
    memory, given = _fresh(case), _keys(6)
    held = _held(memory, Embeddings(given.z.requires_grad_(), given.meta))
    expect(not held.z.requires_grad, "its keys have a gradient, and would keep every step's graph in memory")


def owns_what_it_holds(case: Case) -> None:
    """If the batch that it took is overwritten later, its keys don't change."""
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
    """Its state is tensors by name; a new one that loads them continues as the first does."""
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


# -- of a choice ----------------------------------------------------------------------------------------------


def chooses_among_the_candidates(case: Case) -> None:
    """The keys that it chooses for a query are candidates of the query, with their columns."""
    given, chosen = _chosen(case)
    for query in range(len(given.query)):
        among, found = given.candidates(query), chosen.candidates(query)
        place = _places(found.z, among.z)
        expect(bool((place >= 0).all()), f"of the keys that it chooses for query {query}, some are no candidates")
        for name, column in among.meta.items():
            expect(name in found.meta, f"the chosen keys have lost the column {name!r}")
            expect(torch.equal(found.meta[name], column[place]), f"its column {name!r} belongs to other rows")


def keeps_a_positive(case: Case) -> None:
    """A query that has a positive keeps one, and none of its positives becomes a negative."""
    given, chosen = _chosen(case)
    expect(len(chosen.query) == len(given.query), f"it keeps {len(chosen.query)} of {len(given.query)} queries")
    (had, _), (positive, negative) = given.masks(), chosen.masks()
    lost = (had.any(1) & ~positive.any(1)).nonzero().flatten().tolist()
    expect(not lost, f"the queries {lost} had a positive, and keep none")
    expect(not bool((positive & negative).any()), "some pairs are positive and negative")
    expect(bool(negative.any()), "it leaves no query a negative")


def _chosen(case: Case) -> tuple[Pairs, Pairs]:
    choice = case.make()
    if not hasattr(choice, "choose"):
        raise Skips("it chooses nothing")
    query, key = _keys(9), _keys(24, seed=1)
    given = Pairs(query, (key,), _POSITIVE, _NEGATIVE)
    return given, choice.choose(given)


def _places(rows: Tensor, among: Tensor) -> Tensor:
    """`[n]`: the place of each row among the others; -1 if it isn't among them."""
    equal = (rows.unsqueeze(1) == among).all(-1)
    return torch.where(equal.any(1), equal.int().argmax(1), -1)


# -- tables -----------------------------------------------------------------------------------------------------

_POSITIVE, _NEGATIVE = same("label"), ~same("label")


def _fresh(case: Case) -> Memory:
    memory = case.make()
    if not hasattr(memory, "update"):
        raise Skips("it is no memory")
    return memory  # type: ignore[no-any-return]


def _several(table: Embeddings) -> Embeddings:
    """`[N, 2, D]`: for each query its own key, and its neighbour's."""
    z = torch.stack([table.z, table.z.roll(1, 0)], 1)
    return Embeddings(z, {name: torch.stack([x, x.roll(1, 0)], 1) for name, x in table.meta.items()})


def _keys(rows: int, start: int = 0, seed: int = 0) -> Embeddings:
    number = torch.arange(start, start + rows)
    generator = torch.Generator().manual_seed(start + 1000 * seed)
    columns = {"instance": number, "label": number % 3, "batch": number * 0 + start, "row": number}
    return Embeddings(torch.randn(rows, WIDTH, generator=generator), columns)


def _held(memory: Memory, given: Embeddings) -> Embeddings:
    memory.update(given)
    return _keys_of(memory)


def _keys_of(memory: Memory) -> Embeddings:
    held = memory.keys()
    if held is None and isinstance(memory, OnEpoch):
        raise Skips("it takes keys before an epoch, not from batches")
    if held is None:
        raise Fails("after an update it still holds nothing (keys() is None)")
    return held


def _taken(held: Embeddings, given: Embeddings) -> list[list[Any]]:
    """Both places, where a held row has the same direction as a row that it took; the lengths may differ."""
    if held.z.shape[1] != WIDTH:
        return []
    cosine = normalize(held.z, dim=1) @ normalize(given.z.detach(), dim=1).T
    found: list[list[Any]] = (cosine > 1 - 1e-5).nonzero().tolist()
    return found
