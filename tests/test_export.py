"""A trained pipeline as files: what comes back is what was saved, and broken files are told in words."""

from __future__ import annotations

import builtins
import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from small import Points, points
from small import moco as local
from small import simclr as small
from torch import Tensor, nn

import crl_core as crl
from crl_core import Branch, Contrast, CrlError, Pipeline, Training, View, same
from crl_core.engine import checkpoint
from crl_core.export import to_onnx
from crl_core.registry import PluginError
from crl_core.spec import spec

pytest.importorskip("crl_vision")
from crl_vision.encoders.conv_net import ConvNet
from crl_vision.samplers.augmented import Augmented


def images(count: int = 8) -> View:
    return View(torch.rand(count, 1, 16, 16), {"instance": torch.arange(count)})


def net() -> ConvNet:
    return ConvNet(width=4, stages=2, channels=1)


def simclr() -> Pipeline:
    return Pipeline(Augmented("strokes"), encoder=net(), head=crl.MLP(6), score=crl.Cosine(0.2), loss=crl.InfoNCE())


def moco() -> Pipeline:
    return Pipeline(
        Augmented("strokes"),
        branches={
            "query": Branch("a", encoder=net(), head=crl.MLP(6)),
            "key": Branch("b", tracks="query", update=crl.Momentum(0.9)),
        },
        contrasts=[
            Contrast(
                "query", "key", score=crl.Cosine(0.2), loss=crl.InfoNCE(), keys=crl.Queue(20),
                positive=same("instance") & same("batch"), negative=~same("instance") & ~same("batch"),
            )
        ],
    )  # fmt: skip


def byol() -> Pipeline:
    return Pipeline(
        Augmented("strokes"),
        branches={
            "projection": Branch(("a", "b"), encoder=net(), head=crl.MLP(6)),
            "online": Branch(tap="projection", head=crl.Prediction()),
            "target": Branch(("a", "b"), tracks="projection", update=crl.Momentum(0.9)),
        },
        contrasts=[Contrast("online", "target", loss=crl.Regression(), positive=same("instance") & ~same("view"))],
    )


METHODS: list[Callable[[], Pipeline]] = [simclr, moco, byol]


def trained(make: Callable[[], Pipeline]) -> Pipeline:
    batch = images()
    pipeline = make().build(batch)
    optimiser = torch.optim.SGD((p for p in pipeline.parameters() if p.requires_grad), 0.1)
    for _ in range(3):
        pipeline.loss(batch).total.backward()
        optimiser.step()
        optimiser.zero_grad()
        pipeline.on_step()
    return pipeline


# -- save and load -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", METHODS)
def test_what_was_saved_comes_back(make: Callable[[], Pipeline], tmp_path: Path) -> None:
    pipeline = trained(make)
    crl.save(pipeline, tmp_path / "saved")
    loaded = crl.load(str(tmp_path / "saved"))
    assert not loaded.training
    batch = images()
    for branch in pipeline.branches:
        if pipeline.branches[branch].tap is None:
            assert torch.equal(loaded.encode(batch, branch), pipeline.encode(batch, branch)), branch
    ours, theirs = pipeline.state_dict(), loaded.state_dict()
    assert set(ours) == set(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours), "heads, queues and targets too"
    torch.manual_seed(1)
    expected = pipeline.train().loss(batch).total
    torch.manual_seed(1)
    assert torch.equal(loaded.train().loss(batch).total, expected), "and it can be trained on"
    assert spec.read(tmp_path / "saved" / "spec.toml")["requires"].keys() == {"crl-core", "crl-vision"}


def test_a_fresh_process_encodes_the_same(tmp_path: Path) -> None:
    pipeline = trained(simclr)
    crl.save(pipeline, tmp_path / "saved")
    batch = images()
    save_file({"data": batch.data}, tmp_path / "data.safetensors")
    script = f"""
import torch, crl_core as crl
from safetensors.torch import load_file, save_file
data = load_file({str(tmp_path / "data.safetensors")!r})["data"]
torch.set_num_threads({torch.get_num_threads()})
found = crl.load({str(tmp_path / "saved")!r}).encode(crl.View(data, {{"instance": torch.arange(len(data))}}))
save_file({{"z": found}}, {str(tmp_path / "z.safetensors")!r})
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
    assert torch.equal(load_file(tmp_path / "z.safetensors")["z"], pipeline.encode(batch))


def test_a_part_that_stands_at_two_places_is_one_part_again(tmp_path: Path) -> None:
    def shared() -> Pipeline:
        encoder, head = net(), crl.MLP(6)
        return Pipeline(
            Augmented("strokes"),
            branches={
                "one": Branch("a", encoder=encoder, head=head),
                "two": Branch("b", encoder=encoder, head=head),
            },
            contrasts=[Contrast("one", "two", score=crl.Cosine(), loss=crl.InfoNCE())],
        )

    pipeline = trained(shared)
    crl.save(pipeline, tmp_path / "saved")
    loaded = crl.load(tmp_path / "saved")
    one, two = (loaded.branches[name] for name in ("one", "two"))
    assert one.encoder is two.encoder
    assert one.head is two.head
    batch = images()
    assert torch.equal(loaded.encode(batch, "two"), pipeline.encode(batch, "one"))


def test_saving_leaves_the_pipeline_alone_and_overwrites_an_earlier_export(tmp_path: Path) -> None:
    pipeline = trained(moco)
    before = copy.deepcopy(pipeline.state_dict())
    crl.save(trained(simclr), tmp_path)
    crl.save(pipeline, tmp_path)
    assert pipeline.training
    assert all(torch.equal(before[name], value) for name, value in pipeline.state_dict().items())
    assert list(crl.load(tmp_path).branches) == ["query", "key"]
    assert (tmp_path / "model.safetensors").stat().st_mode & 0o777 == 0o644


def test_a_run_is_not_overwritten_by_its_export(tmp_path: Path) -> None:
    pipeline = small()
    training = Training(epochs=1, batch_size=16)
    crl.fit(pipeline, Points(), training, out=tmp_path, accelerator="cpu", devices=1, show=False)
    before = (tmp_path / "spec.toml").read_text()
    with pytest.raises(CrlError, match=r"\brun\b.*\bspec\b.*\bfolder\b"):
        crl.save(simclr(), tmp_path)
    assert (tmp_path / "spec.toml").read_text() == before


def test_a_run_is_loaded_from_its_checkpoint(tmp_path: Path) -> None:
    pipeline = local()
    training = Training(epochs=2, batch_size=16)
    crl.fit(pipeline, Points(), training, out=tmp_path, accelerator="cpu", devices=1, show=False)
    loaded = crl.load(tmp_path)
    batch = points()
    assert torch.equal(loaded.encode(batch), pipeline.encode(batch))
    held, theirs = (p.contrasts[0].memories[0].keys() for p in (pipeline, loaded))
    assert held is not None
    assert theirs is not None
    assert torch.equal(held.z, theirs.z)


def test_a_part_of_this_process_alone_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(CrlError, match=r"\blocal/small-noisy\b.*\bprocess\b.*\bdistribution\b"):
        crl.save(small(), tmp_path / "saved")
    other = Pipeline(Augmented("strokes"), encoder=nn.Linear(5, 4), score=crl.Cosine(), loss=crl.InfoNCE())
    with pytest.raises(CrlError, match=r"\bbranches\.query\.encoder\b.*\bLinear\b"):
        crl.save(other, tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def test_a_folder_that_can_t_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CrlError, match=r"\bfile\b"):
        crl.save(trained(simclr), tmp_path / "file")


# -- what may be wrong with files ----------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    crl.save(trained(simclr), tmp_path / "saved")
    return tmp_path / "saved"


def test_missing_weights_are_named(saved: Path) -> None:
    (saved / "model.safetensors").unlink()
    with pytest.raises(CrlError, match=r"\bweights\b.*\bmodel\.safetensors\b.*\bcheckpoint\.safetensors\b"):
        crl.load(saved)
    with pytest.raises(CrlError, match=r"\bspec\b.*\bnowhere\b"):
        crl.load(saved / "nowhere.toml")
    with pytest.raises(CrlError, match=r"\.toml\b.*\.json\b"):
        crl.load(saved / "nowhere")


def test_broken_weights_are_named(saved: Path) -> None:
    file = saved / "model.safetensors"
    good = file.read_bytes()
    for content in (b"", good[: len(good) // 2], b"PK\x03\x04 a pickle in a zip" * 50):
        file.write_bytes(content)
        with pytest.raises(CrlError, match=r"model\.safetensors is broken"):
            crl.load(saved)


def state(saved: Path) -> dict[str, Tensor]:
    return load_file(saved / "model.safetensors")


def without_one(found: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in found.items() if not name.endswith("head.layers.0.weight")}


def one_more(found: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**found, "stranger": torch.ones(2)}


def other_shapes(found: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.flatten()[:1] if tensor.dim() > 1 else tensor for name, tensor in found.items()}


def strange_widths(found: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.tensor([3, 4, 5]) if "extra_state" in name else tensor for name, tensor in found.items()}


def negative_width(found: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.tensor(-7) if "extra_state" in name else tensor for name, tensor in found.items()}


def nothing(found: dict[str, Tensor]) -> dict[str, Tensor]:
    return {}


@pytest.mark.parametrize(
    "change", [without_one, one_more, other_shapes, strange_widths, negative_width, nothing], ids=lambda f: f.__name__
)
def test_foreign_weights_don_t_fit(change: Callable[[dict[str, Tensor]], dict[str, Tensor]], saved: Path) -> None:
    save_file(change(state(saved)), saved / "model.safetensors")
    with pytest.raises(CrlError, match=r"\bweights\b.*\bspec\b"):
        crl.load(saved)


def test_weights_of_another_method_don_t_fit(tmp_path: Path) -> None:
    for name, make in (("simclr", simclr), ("moco", moco)):
        crl.save(trained(make), tmp_path / name)
    for name, other in (("simclr", "moco"), ("moco", "simclr")):
        (tmp_path / name / "copy").mkdir()
        for file, of in (("spec.toml", name), ("model.safetensors", other)):
            (tmp_path / name / "copy" / file).write_bytes((tmp_path / of / file).read_bytes())
        with pytest.raises(CrlError, match=r"\bspec\b"):
            crl.load(tmp_path / name / "copy")


def test_a_queue_of_another_size_doesn_t_fit(tmp_path: Path) -> None:
    crl.save(trained(moco), tmp_path)
    text = (tmp_path / "spec.toml").read_text()
    assert "size = 20" in text
    (tmp_path / "spec.toml").write_text(text.replace("size = 20", "size = 21"))
    with pytest.raises(CrlError, match=r"\bweights\b.*\bspec\b.*\b21 keys\b.*\b20\b"):
        crl.load(tmp_path)


def test_memories_of_contrasts_that_are_not_there_don_t_fit(saved: Path) -> None:
    for name in ("contrasts.7.memory.held", "contrasts.0.score.memory.held", "contrasts.x.memory.held"):
        save_file({**state(saved), name: torch.ones(2)}, saved / "model.safetensors")
        with pytest.raises(CrlError, match=r"\bweights\b.*\bspec\b"):
            crl.load(saved)
        save_file({key: value for key, value in state(saved).items() if key != name}, saved / "model.safetensors")
    crl.load(saved)


def test_a_checkpoint_without_a_pipeline_is_told(saved: Path) -> None:
    (saved / "model.safetensors").unlink()
    for wrong in ({"weights": torch.ones(2)}, [torch.ones(2)]):
        checkpoint.save(wrong, saved / "checkpoint.safetensors")
        with pytest.raises(CrlError, match=r"\bcheckpoint\.safetensors\b.*\bpipeline\b"):
            crl.load(saved)


def change_spec(saved: Path, change: Callable[[dict[str, Any]], object]) -> None:
    data = spec.read(saved / "spec.toml")
    change(data)
    spec.write(data, saved / "spec.toml")


def test_a_distribution_that_isn_t_installed_is_named_with_what_to_run(saved: Path) -> None:
    change_spec(saved, lambda data: data["requires"].update({"crl-butterflies": "2.1"}))
    with pytest.raises(
        PluginError,
        match=r"\bcrl-butterflies 2\.1\b.*\bcrl-butterflies==2\.1\b",
    ):
        crl.load(saved)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data.update(schema=99), r"\bschema 99\b.*\bcrl-core\b.*\b1\b.*\b2\b"),
        (lambda data: data.pop("schema"), "schema None"),
        (lambda data: data.update(pipelin={}), r"'pipelin'.*\bspec\b"),
        (lambda data: data.pop("pipeline"), r"\bspec\b.*\bpipeline\b"),
        (lambda data: data.update(requires="crl-core"), r"\brequires\b.*'crl-core'"),
        (lambda data: data.update(requires={"crl-core": 1}), r"\brequires\.crl-core\b.*\b1\b"),
        (
            lambda data: data["pipeline"]["branches"]["query"]["encoder"].update(use="vision/conv-nett"),
            r"\bencoder\b.*'vision/conv-nett'.*'vision/conv-net'",
        ),
        (
            lambda data: data["pipeline"]["branches"]["query"]["encoder"].update(widht=3),
            "'widht'.*'width'",
        ),
    ],
)
def test_a_spec_that_says_what_it_can_t_is_told(
    change: Callable[[dict[str, Any]], object], said: str, saved: Path
) -> None:
    change_spec(saved, change)
    with pytest.raises(CrlError, match=said):
        crl.load(saved)


# -- ONNX ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [4, 1])
def test_the_encoder_as_onnx_takes_any_number_of_items_and_agrees(count: int, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pipeline = trained(simclr)
    path = tmp_path / "encoder.onnx"
    assert to_onnx(pipeline, pipeline.sampler.clean(images(count)), path) < 1e-5
    assert [file.name for file in tmp_path.iterdir()] == ["encoder.onnx"], "one file, with the weights"
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [given.name for given in session.get_inputs()] == ["data"]
    for number in (1, 3, 17):
        batch = images(number)
        (found,) = session.run(None, {"data": batch.data.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), pipeline.encode(batch), rtol=1e-4, atol=1e-5)


def test_a_branch_that_taps_another_as_onnx_is_what_it_makes_of_it(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pipeline, path = trained(byol), tmp_path / "encoder.onnx"
    assert to_onnx(pipeline, pipeline.sampler.clean(images(2)), path, branch="online") < 1e-5
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for number in (1, 3):
        batch = images(number)
        (found,) = session.run(None, {"data": batch.data.numpy()})
        expected = pipeline.encode(batch, "online")
        assert expected.shape[0] == number
        torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-5)


def test_exporting_leaves_the_pipeline_alone(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pipeline = trained(moco)
    before = copy.deepcopy(pipeline.state_dict())
    to_onnx(pipeline, pipeline.sampler.clean(images(2)), tmp_path / "key.onnx", branch="key")
    assert all(module.training for module in pipeline.modules())
    assert all(torch.equal(before[name], value) for name, value in pipeline.state_dict().items())
    assert all(parameter.requires_grad for parameter in pipeline.branches["query"].parameters()), "and it still trains"


@pytest.mark.parametrize("package", ["onnxruntime", "onnxscript"])
def test_missing_packages_are_named_with_what_to_run(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = builtins.__import__

    def refuse(name: str, *args: Any) -> Any:
        if name.partition(".")[0] == package:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        return before(name, *args)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(CrlError, match=rf"{package} is missing\. Run: pip install 'crl-core\[onnx\]'"):
        to_onnx(simclr(), images(2), tmp_path / "encoder.onnx")
    assert not list(tmp_path.iterdir())


def test_what_can_t_be_onnx_is_told(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    for data, said in (
        (["one", "two"], "an encoder of list can't be written as ONNX"),
        ({"x": ["one", "two"]}, "an encoder of dict can't be written as ONNX"),
        ({"x": torch.ones(2)}, "branch 'query' can't encode the example, whose data is a dict: "),
        (torch.ones(2, 1), "branch 'query' can't encode the example, whose data is a Tensor: "),
        (torch.ones(2, 5, 28, 28), "this encoder takes images with 1 channels, and these have 5"),
    ):
        with pytest.raises(CrlError, match=said):
            to_onnx(trained(simclr), View(data, {"instance": torch.arange(2)}), tmp_path / "encoder.onnx")
    with pytest.raises(CrlError, match=r"\bbranch 'qury'.*'query'"):
        to_onnx(trained(simclr), images(2), tmp_path / "encoder.onnx", branch="qury")
