"""What sources are written with: orders, items in memory, splits, batches by column, weight and cost."""

from __future__ import annotations

import logging
import re
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import Points
from torch import Tensor

import crl_core as crl
from crl_core import CrlError
from crl_core.engine.loading import batches_of
from crl_core.items.order import Order, share_of


class Numbers:
    """Items that are their own numbers."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitems__(self, indices: list[int]) -> crl.View:
        index = torch.tensor(indices)
        return crl.View(index.unsqueeze(1).float(), {"instance": index})


def test_an_order_is_cut_when_it_is_asked_for() -> None:
    order = crl.ordered(torch.arange(7), 3)
    assert list(order) == [[0, 1, 2], [3, 4, 5]]
    assert len(order) == 2
    assert order[-1] == [3, 4, 5]
    assert list(crl.ordered(torch.arange(7), 3, drop_last=False)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(crl.ordered(torch.arange(2), 3)) == []
    with pytest.raises(IndexError):
        order[2]


@pytest.mark.parametrize("drop_last", [True, False])
def test_what_is_left_of_an_order_and_a_process_share_of_it(drop_last: bool) -> None:
    order = crl.ordered(torch.randperm(50), 8, drop_last)
    every = list(order)
    for begun in range(len(every) + 2):
        assert list(order[begun:]) == every[begun:]
        assert list(share_of(order[begun:], 1, 2)) == [batch[1::2] for batch in every[begun:]]
        assert list(order.share(1, 2)[begun:]) == [batch[1::2] for batch in every[begun:]]
    assert list(order[1:3]) == every[1:3]
    assert list(order[3:1]) == []


def test_batches_of_several_parts_are_dealt_part_by_part() -> None:
    order = Order(torch.arange(10), torch.tensor([0, 1, 4, 6, 10]), parts=2)
    assert list(order) == [[0, 1, 2, 3], [4, 5, 6, 7, 8, 9]]
    assert list(order.share(0, 2)) == [[0], [4, 5]]
    assert list(order.share(1, 2)[1:]) == [[6, 7, 8, 9]]
    with pytest.raises(CrlError):
        order.share(0, 3)


def test_the_order_of_an_epoch_is_what_it_was_as_a_list() -> None:
    training = crl.Training(batch_size=8, seed=3)
    generator = torch.Generator().manual_seed(3 * 1_000_003 + 2)
    numbers: list[int] = torch.randperm(30, generator=generator).tolist()
    wanted = [numbers[start : start + 8] for start in (0, 8, 16)]
    assert list(batches_of(Numbers(30), training, epoch=2)) == wanted


def test_a_million_items_are_no_list() -> None:
    order = batches_of(Numbers(1_000_000), crl.Training(batch_size=10), epoch=0)
    assert isinstance(order, Order)
    assert len(order) == 100_000


def test_shares_of_lists_and_of_tensors() -> None:
    tensors: list[Tensor] = [torch.tensor([0, 1, 2])]
    assert [batch.tolist() for batch in map(torch.as_tensor, share_of(tensors, 0, 2))] == [[0, 2]]
    assert share_of([[0, 1, 2]], 1, 2) == [[1]]


# -- items in memory, splits -------------------------------------------------------------------------


def test_items_in_memory_have_any_data_and_columns() -> None:
    items = crl.InMemory({"ids": torch.arange(6).view(3, 2), "text": ["a", "b", "c"]}, {"label": torch.arange(3)})
    view = items.__getitems__([2, 0])
    assert view.data["text"] == ["c", "a"]
    assert view.meta["instance"].tolist() == [2, 0]
    assert view.meta["label"].tolist() == [2, 0]
    assert len(items) == 3
    assert len(items.__getitems__([])) == 0


@pytest.mark.parametrize(
    ("make", "place"),
    [
        (lambda: crl.InMemory(torch.zeros(0, 3)), "no items"),
        (lambda: crl.InMemory(torch.zeros(3), {"label": torch.zeros(4)}), "'label'"),
        (lambda: crl.InMemory(object()), "object"),
        (lambda: crl.check_split("trian", ("train", "test")), "'train'"),
    ],
)
def test_what_is_wrong_with_items_is_told(make: Any, place: str) -> None:
    with pytest.raises(CrlError) as error:
        make()
    assert re.search(place, str(error.value))


# -- by column ---------------------------------------------------------------------------------------


class Labelled:
    splits = ("train", "test")

    def __init__(self, label: Tensor, name: str = "speaker") -> None:
        self.label, self.name, self.counts = label, name, {"speakers": 2}

    def items(self, split: str) -> crl.InMemory:
        return crl.InMemory(torch.zeros(len(self.label), 2), {self.name: self.label})


def test_batches_by_column_hold_so_many_of_each_of_some_groups() -> None:
    source = crl.ByColumn(Points(48), groups=3)
    label = torch.arange(48) % 3
    batches = list(batches_of(source.items("train"), crl.Training(batch_size=12), epoch=0))
    assert len(batches) == 4
    for batch in batches:
        assert sorted(Counter(label[torch.tensor(batch)].tolist()).values()) == [4, 4, 4]
    assert batches == list(batches_of(source.items("train"), crl.Training(batch_size=12), epoch=0))
    assert batches != list(batches_of(source.items("train"), crl.Training(batch_size=12), epoch=1))
    assert not isinstance(source.items("test"), crl.OrdersItself)


def test_rare_groups_repeat_and_unknown_ones_are_in_no_batch() -> None:
    speaker = torch.tensor([0] * 20 + [1] * 3 + [-1] * 5)
    source = crl.ByColumn(Labelled(speaker), column="speaker", groups=2)
    assert source.counts == {"speakers": 2}
    for batch in batches_of(source.items("train"), crl.Training(batch_size=8), epoch=0):
        assert sorted(Counter(speaker[torch.tensor(batch)].tolist()).items()) == [(0, 4), (1, 4)]


def test_batches_of_a_contiguous_source_are_stretches_in_a_random_order() -> None:
    items = crl.Contiguous(Labelled(torch.arange(50))).items("train")
    first, second = (list(batches_of(items, crl.Training(batch_size=8), epoch=epoch)) for epoch in (0, 1))
    for batches in (first, second):
        assert len(batches) == 6
        assert all(batch == list(range(batch[0], batch[0] + 8)) for batch in batches)
        assert len({number for batch in batches for number in batch}) == 48
    assert first != sorted(first)
    assert {batch[0] % 8 for batch in first} | {batch[0] % 8 for batch in second} <= {0, 1, 2}
    with pytest.raises(CrlError, match=r"\b50\b.*\b51\b"):
        batches_of(items, crl.Training(batch_size=51), epoch=0)


def test_a_prefix_is_the_beginning_of_a_vector() -> None:
    z = torch.randn(3, 5, 8)
    assert torch.equal(crl.Prefix(3)(z), z[..., :3])
    with pytest.raises(CrlError, match=r"\b8\b.*\b9\b"):
        crl.Prefix(9)(z)


@pytest.mark.parametrize(
    ("source", "size", "place"),
    [
        (lambda: crl.ByColumn(Labelled(torch.tensor([0, 1] * 9)), "speaker", 3), 9, r"2"),
        (lambda: crl.ByColumn(Labelled(torch.arange(9) % 3), "speaker", 3), 8, r"\bbatch\b.*\b8\b"),
        (lambda: crl.ByColumn(Labelled(torch.arange(9))), 8, "the column 'label'"),
    ],
)
def test_groups_that_can_not_be_drawn_are_told(source: Any, size: int, place: str) -> None:
    with pytest.raises(CrlError) as error:
        batches_of(source().items("train"), crl.Training(batch_size=size), epoch=0)
    assert re.search(place, str(error.value))


# -- by weight, by cost ------------------------------------------------------------------------------


def test_items_are_drawn_by_their_weight() -> None:
    weights = torch.tensor([0.0, 1.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0]).repeat(500)
    drawn = torch.tensor(list(crl.by_weight(weights, 40, torch.Generator().manual_seed(0))))
    assert drawn.shape == (100, 40)
    assert set((drawn % 8).unique().tolist()) == {1, 2}
    assert 2.6 < int((drawn % 8 == 2).sum()) / int((drawn % 8 == 1).sum()) < 3.4


def test_more_items_than_torch_draws_from_have_the_same_law(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crl_core.items.drawn._MOST_CATEGORIES", 1)
    test_items_are_drawn_by_their_weight()


@pytest.mark.parametrize("weights", [[0.0, 0.0], [-1.0, 2.0], [float("nan"), 1.0], [float("inf"), 1.0]])
def test_weights_that_say_nothing_are_refused(weights: list[float]) -> None:
    with pytest.raises(CrlError):
        crl.by_weight(torch.tensor(weights), 2, torch.Generator())


@settings(max_examples=150, deadline=None)
@given(
    costs=st.lists(st.integers(0, 30), min_size=1, max_size=120),
    limit=st.integers(30, 90),
    world=st.integers(1, 4),
    seed=st.integers(0, 99),
    whole=st.booleans(),
)
def test_costs_are_at_most_the_limit_and_alike_on_every_process(
    costs: list[int], limit: int, world: int, seed: int, whole: bool
) -> None:
    cost = torch.tensor(costs) if whole else torch.tensor(costs) / 8
    limit_of = float(limit) if whole else limit / 8
    try:
        order = crl.by_cost(cost, limit_of, torch.Generator().manual_seed(seed), world)
    except CrlError:
        # Items for a full batch are never refused.
        assert len(costs) < world or float(cost.sum()) <= world * limit_of + float(cost.max()) * world
        return
    shares = [list(order.share(rank, world)) for rank in range(world)]
    assert len({len(share) for share in shares}) == 1
    used = [index for share in shares for batch in share for index in batch]
    assert len(set(used)) == len(used)
    for batches in zip(*shares, strict=True):
        sums = [float(cost[torch.tensor(batch)].sum()) for batch in batches]
        assert all(batches)
        assert max(sums) <= limit_of
        assert max(sums) - min(sums) <= float(cost.max())
    left = float(cost.sum()) - float(cost[torch.tensor(used)].sum())
    assert left <= world * limit_of
    assert list(order) == list(crl.by_cost(cost, limit_of, torch.Generator().manual_seed(seed), world))
    for whole_batch, *parts in zip(order, *shares, strict=True):
        assert whole_batch == [index for part in parts for index in part]


def test_an_item_that_costs_too_much_is_an_error_or_left_out(caplog: pytest.LogCaptureFixture) -> None:
    costs = torch.tensor([3, 9, 3, 3, 3])
    with pytest.raises(CrlError, match=r"\[1\]"):
        crl.by_cost(costs, 6, torch.Generator())
    with caplog.at_level(logging.WARNING, logger="crl"):
        order = crl.by_cost(costs, 6, torch.Generator(), too_dear="skip")
    assert sorted(index for batch in order for index in batch) == [0, 2, 3, 4]
    assert "1 items cost more" in caplog.text
    with pytest.raises(CrlError):
        crl.by_cost(torch.tensor([1, -1]), 6, torch.Generator())
