"""`torch.compile` of the way from embeddings to the loss, whole: without a break, and with the same gradient."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import pytest
import torch
from small import byol, moco, points, simclr
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter

import crl_core as crl
from crl_core import Contrast, Cosine, Dot, Embeddings, InfoNCE, same

LABEL = same("label") & ~same("row")


@pytest.fixture(autouse=True)
def afresh() -> Iterator[None]:
    try:
        torch.compile(torch.sin, backend="eager")
    except RuntimeError as error:  # a Python that is too new, a system without it
        pytest.skip(f"torch.compile doesn't work here: {error}")
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def whole(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    found: Callable[..., Tensor] = torch.compile(function, backend="eager", fullgraph=True)
    return found


def contrast(loss: nn.Module, score: nn.Module | None = None, **options: object) -> Contrast:
    given = {"key": "query", "positive": LABEL, **options}
    return Contrast("query", loss=loss, score=score or Cosine(0.3, learned=True), **given)  # type: ignore[arg-type]


CASES: dict[str, Contrast] = {
    "SupCon": contrast(InfoNCE()),
    "inside": contrast(InfoNCE("inside")),
    "each positive": contrast(InfoNCE("each")),
    "soft weights": contrast(InfoNCE(), positive=crl.near("time", 2.0) & ~same("row")),
    "both directions": contrast(InfoNCE(), key="key", positive=same("instance"), symmetric=True),
    "decoupled": contrast(crl.Decoupled()),
    "hard negatives": contrast(crl.HardNegatives()),
    "rince": contrast(crl.RINCE()),
    "sigmoid": contrast(crl.Sigmoid(), Cosine(0.3, bias=-1.0), key="key", positive=same("instance")),
    "hardest triplets": contrast(crl.Triplet(mining="hard")),
    "all triplets": contrast(crl.Triplet(), crl.L2()),
    "semi-hard triplets": contrast(crl.Triplet(mining="semi-hard"), crl.L2()),
    "lifted": contrast(crl.Lifted(), crl.L2()),
    "lifted structure": contrast(crl.LiftedStructure(), crl.L2()),
    "pair": contrast(crl.Pair(), crl.L2()),
    "margin": contrast(crl.Margin(), crl.L2()),
    "Donsker-Varadhan": contrast(crl.DonskerVaradhan(), Dot()),
    "Jensen-Shannon": contrast(crl.JensenShannon(), Dot()),
    "NWJ": contrast(crl.NWJ(), Dot()),
}


@pytest.mark.parametrize("name", CASES)
def test_a_contrast_is_compiled_whole(name: str) -> None:
    given = CASES[name].double()
    found = []
    for run in (lambda table: given(table).value, whole(lambda table: given(table).value)):
        torch.manual_seed(1)
        leaves = [torch.randn(12, 6, dtype=torch.float64, requires_grad=True) for _ in range(2)]
        number = torch.arange(12)
        columns = {"instance": number, "label": number % 4, "time": number / 2}
        table = {
            branch: Embeddings(z, {**columns, "row": number + first})
            for branch, z, first in zip(("query", "key"), leaves, (0, 100), strict=True)
        }
        value = run(table)
        found.append([value, *torch.autograd.grad(value, leaves, allow_unused=True, materialize_grads=True)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
    assert found[0][1].abs().max() > 0


def test_a_queue_is_compiled_with_its_contrast() -> None:
    pipeline = moco(norm=False).build(points()).train()
    for _ in range(3):
        pipeline.loss(points()).total.backward()
        pipeline.on_step()
    table = pipeline.embed(pipeline.sampler(points()))
    pipeline.eval()  # what it takes in, it takes in outside
    (given,) = pipeline.contrasts
    torch.testing.assert_close(whole(lambda table: given(table).value)(table), given(table).value)


def test_the_objective_of_a_pipeline_is_compiled_whole() -> None:
    for make in (simclr, moco):
        pipeline, batch = make(norm=False).build(points()), points()
        torch.manual_seed(2)
        losses = pipeline.eval().loss(batch)
        torch.manual_seed(2)
        torch.testing.assert_close(whole(lambda batch, p=pipeline: p.loss(batch).total)(batch), losses.total)


@pytest.mark.parametrize(("make", "times"), [(simclr, 1), (moco, 3)])
def test_a_step_of_training_is_not_compiled_anew(make: Callable[..., crl.Pipeline], times: int) -> None:
    """For the number of the batch; for a queue that is empty, that has its first keys, and for any size then."""
    pipeline, counter = make(norm=False).build(points()).train(), CompileCounter()
    plain = copy.deepcopy(pipeline)
    step = torch.compile(lambda batch: pipeline.loss(batch).total, backend=counter, fullgraph=True)
    for number in range(6):
        found = []
        for model, loss in ((plain, lambda batch: plain.loss(batch).total), (pipeline, step)):
            torch.manual_seed(number)
            found.append(loss(points()))
            model.on_step()
        torch.testing.assert_close(*found)
    assert counter.frame_count == times
    assert pipeline.steps == 6


def test_what_the_data_tell_needs_shapes_that_the_data_tell() -> None:
    """Losses of the positive pairs list these: a compiler has to be told that it may follow that."""
    pipeline = byol(norm=False).build(points()).eval()
    table = pipeline.embed(pipeline.sampler(points()))
    (given,) = pipeline.contrasts
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        found = whole(lambda table: given(table).value)(table)
    torch.testing.assert_close(found, given(table).value)
