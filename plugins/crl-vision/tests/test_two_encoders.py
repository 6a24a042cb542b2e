"""A CLIP of images and vectors: two encoders, each evaluated, reported, saved and exported by itself."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from crl_vision.encoders.conv_net import ConvNet
from crl_vision.sources.digits import Digits
from torch import Tensor, nn

import crl_core as crl
from crl_core import Branch, Contrast, Pipeline, Recipe, Training, View, same
from crl_core.report.page import write_report

EACH = ("image", "vector")


class PairItems:
    """Digits, each with a second view: its rows and columns summed up, noisy."""

    def __init__(self, images: crl.InMemory) -> None:
        self.images = images
        pixels = images.__getitems__(list(range(len(images)))).data.float() / 255
        sums = torch.cat([pixels.sum(2), pixels.sum(3)], 2).flatten(1)
        self.vectors = sums + 0.1 * torch.randn(sums.shape, generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, indices: list[int]) -> View:
        found = self.images.__getitems__(indices)
        return View({"image": found.data, "vector": self.vectors[indices]}, found.meta)


class Pairs:
    splits: ClassVar[tuple[str, ...]] = ("train", "clean")

    def items(self, split: str) -> PairItems:
        return PairItems(Digits().items(split))


class Both:
    """Each of the two is a view; a little noise is all that is random."""

    views: ClassVar[tuple[str, ...]] = EACH

    def clean(self, batch: View) -> dict[str, View]:
        pixels = batch.data["image"].float() / 255
        return {"image": View(pixels, batch.meta), "vector": View(batch.data["vector"], batch.meta)}

    def __call__(self, batch: View) -> dict[str, View]:
        return {
            name: View(view.data + 0.05 * torch.randn_like(view.data), view.meta)
            for name, view in self.clean(batch).items()
        }

    def depict(self, view: View) -> Tensor:
        images = view.data["image"] if isinstance(view.data, dict) else view.data
        if images.dim() == 2:
            images = images.view(len(images), 1, 4, -1) / 16
        pictures = (images * 255 if images.is_floating_point() else images).clamp(0, 255).byte()
        return pictures.expand(-1, 3, -1, -1).permute(0, 2, 3, 1)


class Vectors(nn.Module):
    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.width = width
        self.layers = nn.Sequential(nn.LayerNorm(32), nn.Linear(32, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, vectors: Tensor) -> Tensor:
        found: Tensor = self.layers(vectors)
        return found


crl.register("source", "two-encoders-pairs", Pairs)
crl.register("sampler", "two-encoders-both", Both)
crl.register("encoder", "two-encoders-vectors", Vectors)


def clip() -> Recipe:
    pipeline = Pipeline(
        Both(),
        branches={
            "image": Branch("image", encoder=ConvNet(8, 2, channels=1), head=crl.Linear(16)),
            "vector": Branch("vector", encoder=Vectors(), head=crl.Linear(16)),
        },
        contrasts=[
            Contrast("image", "vector", score=crl.Cosine(0.1, learned=True), loss=crl.InfoNCE(), symmetric=True),
            Contrast(
                "vector", keys=crl.Prototypes(10, "vector", warmup=1), loss=crl.InfoNCE(), positive=same("cluster"),
                score=crl.Dot(), weight=0.1, name="prototypes",
            ),
        ],
    )  # fmt: skip
    training = Training(epochs=8, batch_size=128, optimiser=crl.AdamW(3e-3), schedule=crl.CosineDecay(warmup=0.0))
    return Recipe(pipeline, Pairs(), training)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Pipeline]:
    torch.manual_seed(0)
    out, made = tmp_path_factory.mktemp("clip") / "run", clip()
    fitted = crl.fit(made.pipeline, made.source, made.training, out=out, accelerator="cpu", devices=1, show=False)
    assert fitted.finished
    return out, fitted.pipeline


def batch(count: int = 64) -> View:
    return Pairs().items("clean").__getitems__(list(range(count)))


def test_the_two_find_each_other_and_the_temperature_is_learned(run: tuple[Path, Pipeline]) -> None:
    _, pipeline = run
    table = pipeline.eval().embed(pipeline.clean(batch()))
    image, vector = (F.normalize(table[name].z, dim=1) for name in EACH)
    right = ((image @ vector.T).argmax(1) == torch.arange(64)).float().mean()
    assert right > 0.25, "one in 64 by chance"
    assert any(parameter.requires_grad for parameter in pipeline.contrasts[0].score.parameters())


def test_prototypes_are_of_the_second_branch(run: tuple[Path, Pipeline]) -> None:
    _, pipeline = run
    memory = pipeline.contrasts[1].memories[0]
    assert memory.centroids.shape == (10, 16)
    assert len(memory.cluster_of) == len(Pairs().items("train"))
    assert memory.cluster_of.unique().tolist() == list(range(10))


def test_each_is_evaluated_by_its_own_encoder(run: tuple[Path, Pipeline]) -> None:
    _, pipeline = run
    widths = {}
    for name in EACH:
        figures = crl.evaluate(pipeline, Pairs(), branch=name, evaluators=["knn"]).figures["knn"]["clean"]
        assert figures["trained"] > 0.7, name
        z = pipeline.encode(batch(), name)
        assert torch.equal(crl.embed(pipeline, Pairs().items("clean"), name).z, pipeline.encode(batch(360), name))
        encoder = pipeline.branches[name].encoder
        torch.testing.assert_close(z, encoder.eval()(pipeline.clean(batch())[name].data))
        widths[name] = z.shape[1]
    assert widths["vector"] == 32 != widths["image"]


def test_it_is_opened_without_its_data(run: tuple[Path, Pipeline], monkeypatch: pytest.MonkeyPatch) -> None:
    out, pipeline = run
    wanted, given = {name: pipeline.encode(batch(), name) for name in EACH}, batch()
    monkeypatch.setattr(Pairs, "items", lambda self, split: pytest.fail("asks for data"))
    opened = crl.load(out)
    for name in EACH:
        assert torch.equal(opened.encode(given, name), wanted[name])
    assert torch.equal(opened.contrasts[1].memories[0].centroids, pipeline.contrasts[1].memories[0].centroids)


@pytest.mark.parametrize("name", EACH)
def test_each_is_exported(run: tuple[Path, Pipeline], tmp_path: Path, name: str) -> None:
    pytest.importorskip("onnxruntime")
    _, pipeline = run
    path = tmp_path / f"{name}.onnx"
    assert crl.to_onnx(pipeline, pipeline.clean(batch(6)), path, name) < 1e-4
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path))
    (given,) = session.get_inputs()
    data = pipeline.clean(batch(9))[name].data
    found = torch.tensor(session.run(None, {given.name: data.numpy()})[0])
    torch.testing.assert_close(found, pipeline.encode(batch(9), name), rtol=1e-3, atol=1e-4)


def test_its_report_is_written(run: tuple[Path, Pipeline]) -> None:
    pytest.importorskip("matplotlib")
    out, pipeline = run
    evaluation = crl.evaluate(pipeline, Pairs(), evaluators=["knn"])
    fresh = clip().pipeline.build(batch(), Pairs())
    page = write_report(out, pipeline, fresh, Pairs(), evaluation)
    assert "knn" in page.read_text()
