"""Rows of any data: tensors, nested tensors, mappings, lists of items, and objects that know their rows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

import crl_core as crl
from crl_core import CrlError, Embeddings, View
from crl_core.data.rows import move_rows


class Packed:
    """Words of several sentences, one after the other: a sentence is a row."""

    def __init__(self, words: Tensor, lengths: Tensor) -> None:
        self.words, self.lengths = words, lengths

    def row_count(self) -> int:
        return len(self.lengths)

    def take_rows(self, index: Tensor) -> Packed:
        rows = self.words.split(self.lengths.tolist())
        return Packed(torch.cat([rows[i] for i in index.tolist()]), self.lengths[index])

    def join_rows(self, others: Any) -> Packed:
        every = [self, *others]
        return Packed(torch.cat([one.words for one in every]), torch.cat([one.lengths for one in every]))

    def to(self, device: Any, non_blocking: bool = False) -> Packed:
        return Packed(self.words.to(device), self.lengths.to(device))


class Pair(NamedTuple):
    image: Tensor
    text: Any


def packed() -> Packed:
    return Packed(torch.arange(10.0), torch.tensor([1, 4, 2, 3]))


def nested() -> Tensor:
    made: Tensor = torch.nested.nested_tensor_from_jagged(
        torch.arange(10.0).view(10, 1), torch.tensor([0, 1, 5, 7, 10])
    )
    return made


KINDS: dict[str, Any] = {
    "tensor": lambda: torch.arange(8.0).view(4, 2),
    "nested": nested,
    "mapping": lambda: {"ids": torch.arange(8).view(4, 2), "deep": {"mask": torch.ones(4)}, "text": list("abcd")},
    "named tuple": lambda: Pair(torch.arange(4.0), list("abcd")),
    "list": lambda: ["a", "b", np.zeros(3), torch.ones(2)],
    "object": packed,
}


def plain(data: Any) -> Any:
    """The rows as plain values, to compare."""
    if isinstance(data, Packed):
        return [row.tolist() for row in data.words.split(data.lengths.tolist())]
    if isinstance(data, Tensor) and data.is_nested:
        return [row.tolist() for row in data.unbind()]
    if isinstance(data, (Tensor, np.ndarray)):
        return data.tolist()
    if isinstance(data, dict):
        return [dict(zip(data, row, strict=True)) for row in zip(*map(plain, data.values()), strict=True)]
    if isinstance(data, tuple):
        return list(zip(*map(plain, data), strict=True))
    return [plain(item) for item in data] if isinstance(data, list) else data


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_counted_taken_and_joined(kind: str) -> None:
    data = KINDS[kind]()
    rows = plain(data)
    assert crl.row_count(data) == 4
    assert plain(crl.take_rows(data, torch.tensor([2, 0, 2, -1]))) == [rows[2], rows[0], rows[2], rows[3]]
    assert plain(crl.take_rows(data, torch.tensor([True, False, False, True]))) == [rows[0], rows[3]]
    assert plain(crl.take_rows(data, slice(1, 3))) == rows[1:3]
    assert plain(crl.take_rows(data, slice(2, 100))) == rows[2:]
    assert plain(crl.join_rows([data, crl.take_rows(data, slice(1, 2)), data])) == [*rows, rows[1], *rows]
    assert plain(crl.join_rows([data])) == rows
    assert plain(move_rows(data, "cpu")) == rows
    assert crl.finite_rows(data) is None


def test_gradients_flow_through_rows_of_nested_tensors() -> None:
    values = torch.arange(10.0).view(10, 1).requires_grad_()
    data = torch.nested.nested_tensor_from_jagged(values, torch.tensor([0, 1, 5, 7, 10]))
    joined = crl.join_rows([crl.take_rows(data, torch.tensor([1])), data])
    joined.values().sum().backward()
    assert values.grad is not None
    assert values.grad.flatten().tolist() == [1, 2, 2, 2, 2, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        (torch.tensor([[1.0, 2.0], [float("nan"), 0.0]]), [True, False]),
        (torch.tensor([float("inf"), 0.0]), [False, True]),
        ({"a": torch.tensor([1.0, float("nan")]), "b": torch.tensor([float("inf"), 0.0])}, [False, False]),
        (Pair(torch.tensor([1.0, float("nan")]), ["a", "b"]), [True, False]),
        ([np.array([1.0, np.nan]), "word", torch.tensor(1.0), float("inf"), 3], [False, True, True, False, True]),
        (
            torch.nested.nested_tensor_from_jagged(torch.tensor([1.0, float("nan"), 2.0]), torch.tensor([0, 0, 2, 3])),
            [True, False, True],
        ),
    ],
)
def test_rows_that_are_not_finite(data: Any, rows: list[bool]) -> None:
    found = crl.finite_rows(data)
    assert found is not None
    assert found.tolist() == rows


def test_whole_numbers_and_strangers_have_nothing_to_check() -> None:
    assert crl.finite_rows(torch.tensor([1, 2])) is None
    assert crl.finite_rows(object()) is None
    assert crl.finite_rows({"graph": object(), "x": torch.ones(3)}) is None


@pytest.mark.parametrize(
    ("action", "place"),
    [
        (lambda: crl.row_count({"ids": torch.zeros(3), "mask": torch.zeros(4)}), "'mask' has 4"),
        (lambda: crl.take_rows({"ids": torch.zeros(3), "mask": torch.zeros(4)}, slice(2)), "'mask' has 4"),
        (lambda: crl.finite_rows({"ids": torch.tensor([float("nan")]), "mask": torch.zeros(4)}), "'mask' has 4"),
        (lambda: crl.row_count({}), "empty mapping"),
        (lambda: crl.row_count(torch.tensor(1.0)), "single number"),
        (lambda: crl.row_count(object()), " object"),
        (lambda: crl.row_count({"x": {"deep": 3}}), " int"),
        (lambda: crl.row_count((torch.zeros(3), torch.zeros(3))), " tuple"),
        (lambda: crl.take_rows("words", slice(2)), " str"),
        (lambda: crl.join_rows([]), "join"),
        (lambda: crl.join_rows([torch.zeros(3, 2), torch.zeros(3, 4)]), "[3, 2] and [3, 4]"),
        (lambda: crl.join_rows([torch.zeros(3, 2), [1]]), "Tensor, list"),
        (lambda: crl.join_rows([[1], torch.zeros(3, 2)]), "list, Tensor"),
        (lambda: crl.join_rows([{"a": torch.zeros(3)}, {"b": torch.zeros(3)}]), "a and b"),
        (lambda: crl.join_rows([object(), object()]), " object"),
        (lambda: crl.join_rows([nested(), torch.zeros(3, 2)]), "nested"),
    ],
)
def test_what_has_no_rows_says_so(action: Any, place: str) -> None:
    with pytest.raises(CrlError) as error:
        action()
    assert place in str(error.value)


# -- views -----------------------------------------------------------------------------------------


def test_a_view_without_columns_counts_the_rows_of_its_data() -> None:
    assert len(View({"input_ids": torch.zeros(5, 7)})) == 5
    assert len(View(packed())) == 4
    assert len(View(object(), {"instance": torch.arange(3)})) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_views_are_taken_and_joined_with_their_columns(kind: str) -> None:
    view = View(KINDS[kind](), {"instance": torch.arange(4), "own": torch.zeros(4, 2)})
    some = view.take(torch.tensor([3, 1]))
    assert plain(some.data) == [plain(view.data)[3], plain(view.data)[1]]
    assert some.meta["instance"].tolist() == [3, 1]
    joined = View.join([view.to("cpu"), View(some.data, {"instance": some.meta["instance"]})])
    assert plain(joined.data) == [*plain(view.data), *plain(some.data)]
    assert {name: column.tolist() for name, column in joined.meta.items()} == {"instance": [0, 1, 2, 3, 3, 1]}
    assert View.join([view]) is view


# -- padding ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4, 6, 3), (4, 2, 3, 5)])
def test_padding_changes_no_mean(shape: tuple[int, ...]) -> None:
    z = torch.randn(shape)
    valid = torch.rand(shape[:-1]) < 0.6
    valid[:, 0] = True
    wide, theirs = (
        torch.full((shape[0], 2 * shape[1], *shape[2:]), 1e9),
        torch.zeros(shape[0], 2 * shape[1], *shape[2:-1]),
    )
    wide[:, : shape[1]] = z
    theirs[:, : shape[1]] = valid
    found = Embeddings(wide, {"valid": theirs.bool()}).mean()
    wanted = torch.stack([row[chosen].mean(0) for row, chosen in zip(z, valid, strict=True)])
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)
    torch.testing.assert_close(Embeddings(z, {"valid": valid}).mean(), wanted, rtol=0, atol=1e-6)


def test_a_row_without_positions_is_zeros_and_nan_stays_in_the_padding() -> None:
    z = torch.ones(2, 3, 4, requires_grad=True)
    valid = torch.tensor([[True, False, False], [False, False, False]])
    filled = torch.where(valid.unsqueeze(-1), z, torch.nan)
    found = Embeddings(filled, {"valid": valid}).mean()
    assert found.tolist() == [[1.0] * 4, [0.0] * 4]
    found.sum().backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()


def test_means_without_padding() -> None:
    z = torch.randn(3, 5, 2)
    torch.testing.assert_close(Embeddings(z).mean(), z.mean(1))
    torch.testing.assert_close(Embeddings(z, {"valid": torch.tensor([True, False, True])}).mean()[1], torch.zeros(2))
    flat = torch.randn(3, 2)
    assert Embeddings(flat).mean() is flat
