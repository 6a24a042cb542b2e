"""Encoding in chunks: the loss and gradient of the whole batch, with the memory of a few rows."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from small import Noisy, Points, byol, learns, moco, points, simclr
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import crl_core as crl
from crl_core import CrlError, Embeddings, Pipeline, View
from crl_core.method.chunked import in_chunks


def without_norm() -> Pipeline:
    layers = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Dropout(0.0), nn.Linear(16, 8))
    return Pipeline(Noisy, encoder=layers, head=crl.MLP(6), score=crl.Cosine(0.2), loss="info-nce").double()


def gradients(pipeline: Pipeline, batch: View, chunk: int | None) -> tuple[Tensor, list[Tensor]]:
    torch.manual_seed(3)
    pipeline.zero_grad()
    losses = pipeline.loss(batch, chunk)
    losses.total.backward()
    return losses.total.detach(), [p.grad.clone() for p in pipeline.parameters() if p.grad is not None]


@pytest.mark.parametrize("chunk", [1, 5, 24, 100])
def test_value_and_gradient_are_those_of_the_whole_batch(chunk: int) -> None:
    batch = View(points(12).data.double(), points(12).meta)
    pipeline = without_norm().build(batch)
    value, expected = gradients(pipeline, batch, None)
    found, theirs = gradients(pipeline, batch, chunk)
    torch.testing.assert_close(found, value)
    for one, other in zip(theirs, expected, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("make", [simclr, moco, byol])
def test_every_method_trains_in_chunks(make) -> None:  # type: ignore[no-untyped-def]
    assert learns(make, chunk=32)


def test_dropout_is_the_same_when_a_chunk_is_made_again() -> None:
    layers = nn.Sequential(nn.Linear(4, 64), nn.Dropout(0.5))
    data = torch.randn(10, 4)
    torch.manual_seed(0)
    found = in_chunks(layers, data, 3)
    found.square().sum().backward()
    torch.manual_seed(0)
    other = copy.deepcopy(layers)
    torch.cat([other(part) for part in data.split(3)]).square().sum().backward()
    torch.testing.assert_close(layers[0].weight.grad, other[0].weight.grad)


def test_running_statistics_move_once_a_chunk() -> None:
    one = nn.Sequential(nn.Linear(5, 16), nn.BatchNorm1d(16))
    other = copy.deepcopy(one)
    data = torch.randn(12, 5)
    in_chunks(one, data, 4).sum().backward()
    for part in data.split(4):
        other(part)
    for name, buffer in one.named_buffers():
        torch.testing.assert_close(buffer, dict(other.named_buffers())[name])


class Live(TorchDispatchMode):
    """The largest tensor that has the wide layer's width."""

    rows = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        found = function(*args, **(kwargs or {}))
        if isinstance(found, Tensor) and found.dim() == 2 and found.shape[1] == 333:
            self.rows = max(self.rows, found.shape[0])
        return found


def test_only_a_chunk_of_activations_exists() -> None:
    wide = nn.Sequential(nn.Linear(5, 333), nn.ReLU(), nn.Linear(333, 8))
    pipeline = Pipeline(Noisy, encoder=wide, score=crl.Cosine(0.2), loss="info-nce")
    with Live() as live:
        pipeline.loss(points(40), chunk=10).total.backward()
    assert live.rows == 10


class Tokens(nn.Module):
    """Token mappings to embeddings with a column and two features."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(9, 4)

    def forward(self, data: dict[str, Tensor]) -> Embeddings:
        z = self.words(data["ids"])
        features = {"mean": z.mean(1), "mask": data["mask"]}
        return Embeddings(z, {"valid": data["mask"], "length": data["mask"].sum(1)}, features)


def tokens(count: int) -> dict[str, Tensor]:
    return {"ids": torch.randint(9, (count, 5)), "mask": torch.rand(count, 5) < 0.7}


@pytest.mark.parametrize("chunk", [1, 3, 4, 7, 10])
def test_mappings_are_encoded_in_chunks_with_columns_and_features(chunk: int) -> None:
    encoder, data = Tokens(), tokens(7)
    wanted = encoder(data)
    wanted.z.square().sum().backward()
    gradient = encoder.words.weight.grad.clone()
    encoder.zero_grad()
    found = in_chunks(encoder, data, chunk)
    found.z.square().sum().backward()
    torch.testing.assert_close(found.z, wanted.z)
    torch.testing.assert_close(encoder.words.weight.grad, gradient)
    for mine, theirs in ((found.meta, wanted.meta), (found.features, wanted.features)):
        assert list(mine) == list(theirs)
        for name, column in theirs.items():
            torch.testing.assert_close(mine[name], column)


class Returns(nn.Module):
    def __init__(self, make: Any) -> None:
        super().__init__()
        self.make = make

    def forward(self, data: Any) -> Any:
        return self.make(data)


def test_lists_of_items_are_encoded_in_chunks() -> None:
    data = [torch.ones(length) for length in (1, 5, 2, 3, 4)]
    found = in_chunks(Returns(lambda rows: torch.tensor([[float(row.sum())] for row in rows])), data, 2)
    assert found.flatten().tolist() == [1, 5, 2, 3, 4]


@pytest.mark.parametrize(
    ("make", "data", "place"),
    [
        (lambda x: {"codes": torch.zeros(3, 2), "z": x}, torch.zeros(8, 2), "'codes'"),
        (lambda x: {"temperature": torch.zeros(()), "z": x}, torch.zeros(8, 2), "'temperature'"),
        (lambda x: Embeddings(x, {}, {"codes": torch.zeros(3, 2)}), torch.zeros(8, 2), "'codes'"),
        (lambda x: [x], torch.zeros(8, 2), "list"),
        (lambda x: x, object(), "object"),
        (lambda x: x, {"a": torch.zeros(3), "b": torch.zeros(4)}, "'b'"),
    ],
)
def test_what_has_no_rows_is_refused(make: Any, data: Any, place: str) -> None:
    with pytest.raises(CrlError) as error:
        in_chunks(Returns(make), data, 2)
    assert place in str(error.value)


def test_an_encoder_that_makes_other_rows_brings_their_columns() -> None:
    def split(x: Tensor) -> Embeddings:
        halves = x.view(-1, 1)
        return Embeddings(halves, {"half": torch.arange(2).repeat(len(x))}, {"half": halves, "whole": x})

    found = in_chunks(Returns(split), torch.arange(10.0).view(5, 2), 2)
    assert found.z.flatten().tolist() == list(range(10))
    assert found.meta["half"].tolist() == [0, 1] * 5
    assert [len(found.features[name]) for name in ("half", "whole")] == [10, 5]


def test_a_training_can_ask_for_chunks() -> None:
    pipeline = simclr()
    fitted = crl.fit(pipeline, Points(), crl.Training(epochs=1, batch_size=16, chunk=8), show=False)
    assert fitted.finished
    with pytest.raises(ValueError, match="chunk"):
        crl.Training(chunk=0)
