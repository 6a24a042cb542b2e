"""What sources are written with: orders, items in memory, splits, batches by column, weight and cost."""

from __future__ import annotations

import pytest
import torch
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
