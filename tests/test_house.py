"""Methods of every shape go the whole way: composed, trained, evaluated, saved, opened without their data, exported.

Nothing in the core knows any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from shapes import METHODS, two_sources_in_turn, two_stages
from torch import Tensor

import crl_core as crl
from crl_core.evaluation.evaluate import of_branch


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
def test_a_method_goes_the_whole_way(method: Callable[[], Any], tmp_path: Path) -> None:
    pipeline, source, training = method()
    out = tmp_path / "run"
    fitted = crl.fit(pipeline, source, training, out=out, accelerator="cpu", devices=1, show=False)
    losses = [line["loss"] for line in fitted.metrics if "loss" in line]
    assert fitted.finished
    assert all(map(torch.isfinite, map(torch.tensor, losses)))

    encoded = {}
    for name in pipeline.branches:
        own = of_branch(source, pipeline, name)
        figures = crl.evaluate(pipeline, source, branch=name, evaluators=["knn", "effective-rank"]).figures
        assert figures["knn"]["test"]["trained"] > 0.5, name
        batch = own.items("test").__getitems__(list(range(8)))
        encoded[name] = batch, pipeline.encode(batch, name)
        assert len(crl.embed(pipeline, own.items("test"), name)) == 30
    assert all(len(z) == 8 for _, z in encoded.values())

    # Nothing of the source is at hand when it is opened.
    opened = crl.load(out)
    for name, (batch, wanted) in encoded.items():
        assert torch.equal(opened.encode(batch, name), wanted), name


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
def test_every_branch_is_exported(method: Callable[[], Any], tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pipeline, source, _ = method()
    pipeline.eval()
    for name in pipeline.branches:
        items = of_branch(source, pipeline, name).items("test")
        batch = items.__getitems__(list(range(6)))
        pipeline.build(items.__getitems__(list(range(9))))
        path = tmp_path / f"{name}.onnx"
        assert crl.to_onnx(pipeline, pipeline.clean(batch), path, name) < 1e-4, name
        # Of any number of items.
        more = items.__getitems__(list(range(11)))
        views = {view: pipeline.clean(more)[view] for view in pipeline.views_of(name)[:1]}
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        data = next(iter(views.values())).data
        fed = data if isinstance(data, Mapping) else {session.get_inputs()[0].name: data}
        (found,) = session.run(None, {key: value.numpy() for key, value in fed.items()})
        torch.testing.assert_close(torch.from_numpy(found), pipeline.encode(more, name), rtol=1e-3, atol=1e-4)


def test_stages_keep_what_is_frozen_and_drop_what_does_not_run(tmp_path: Path) -> None:
    pipeline, source, (first, second) = two_stages()
    middle: dict[str, Tensor] = {}
    crl.fit(pipeline, source, first, accelerator="cpu", devices=1, show=False)
    middle = {name: x.clone() for name, x in pipeline.state_dict().items() if torch.is_tensor(x)}
    fitted = crl.fit(pipeline, source, [second], accelerator="cpu", devices=1, show=False)
    after = pipeline.state_dict()
    for name, before in middle.items():
        if name.startswith("branches.left.encoder."):
            assert torch.equal(before, after[name]), name
    assert not torch.equal(middle["branches.left.head.layer.weight"], after["branches.left.head.layer.weight"])
    assert all("loss/prototypes" not in line for line in fitted.metrics)


def test_terms_run_on_their_own_source_alone() -> None:
    pipeline, source, training = two_sources_in_turn()
    fitted = crl.fit(pipeline, source, training, accelerator="cpu", devices=1, show=False)
    ran = [{name for name in line if name.startswith("loss/")} for line in fitted.metrics if "loss" in line]
    assert ran == [{"loss/left-right-projected"}, {"loss/views"}] * (len(ran) // 2)
