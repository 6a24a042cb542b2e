"""timm's models are encoders of crl, by their own names."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from crl_timm import encoders
from crl_timm.encoders import opened
from torch import nn

import crl_core as crl
from crl_core import CrlError, PluginError, SpecError, assemble, describe, get, part_from, part_of, requirements
from crl_core.cli import main
from crl_core.spec import spec

# Small ones of different kinds, with the size that they are made for.
MODELS = ["test_resnet", "test_vit", "test_efficientnet", "test_convnext", "test_maxvit"]


def make(model: str, **options: Any) -> Any:
    return crl.make("encoder", f"timm/{model}", **options)


@pytest.mark.parametrize("model", MODELS)
def test_a_model_is_timms_without_its_classifier(model: str) -> None:
    encoder = make(model).eval()
    images = torch.rand(2, 3, *encoder._wanted)
    theirs = timm.create_model(model, num_classes=0).eval()
    theirs.load_state_dict(encoder.net.state_dict())
    mean, std = (
        torch.tensor(values).view(3, 1, 1) for values in (theirs.pretrained_cfg["mean"], theirs.pretrained_cfg["std"])
    )
    with torch.no_grad():
        found = encoder(images)
        torch.testing.assert_close(found, theirs((images - mean) / std))
    assert found.shape == (2, theirs.num_features)


def test_grey_images_and_other_normalisation() -> None:
    encoder = make("test_resnet", channels=1, mean=0.4, std=0.2).eval()
    seen: list[torch.Tensor] = []
    encoder.net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    images = torch.rand(2, 1, 32, 32)
    assert encoder(images).shape[0] == 2
    torch.testing.assert_close(seen[0], (images - 0.4) / 0.2)
    grey = make("resnet10t", channels=1)
    torch.testing.assert_close(grey._mean, torch.tensor([[[(0.485 + 0.456 + 0.406) / 3]]]))
    torch.testing.assert_close(grey._std, torch.tensor([[[(0.229 + 0.224 + 0.225) / 3]]]))


@pytest.mark.parametrize(("size", "given"), [(None, 160), (32, 32)])
def test_a_model_for_one_size_takes_that_size(size: int | None, given: int) -> None:
    encoder = make("test_vit", size=size)
    assert encoder(torch.rand(2, 3, given, given)).shape == (2, 64)
    said = rf"\b{given} × {given}\b.*\b48 × 64\b.*\bsize=48\b"
    with pytest.raises(CrlError, match=said):
        encoder(torch.rand(2, 3, 48, 64))


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        ("test_resnet", {"channels": 0}, r"\bchannels\b.*\b1\b.*\b0\b"),
        ("test_resnet", {"std": 0.0}, r"\bstd\b.*\b0\b.*\b0\.0\b"),
        ("test_resnet", {"size": 32}, r"\btest_resnet\b.*\bsize\b"),
        ("resnet10t.no", {}, r"\btimm\b.*\bweights\b.*'resnet10t"),
    ],
)
def test_nonsense_is_refused(model: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises((ValueError, CrlError), match=said):
        make(model, **options)


def test_other_channels_are_told_with_the_right_ones() -> None:
    with pytest.raises(CrlError, match=r"\bimages\b.*\b3 channels\b.*\b1\b.*\bchannels=1\b"):
        make("test_resnet")(torch.rand(2, 1, 32, 32))


# -- names ----------------------------------------------------------------------------------------------------


def test_a_misspelt_model_is_told_the_right_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CrlError, match=r"\bencoder\b.*'timm/resnt18': timm\b.*'resnet18'"):
        get("encoder", "timm/resnt18")
    assert main(["info", "timm/resnt18"]) == 1
    assert "Did you mean 'resnet18'" in capsys.readouterr().err


def test_only_encoders_are_opened() -> None:
    with pytest.raises(PluginError, match=r"\bhead\b.*'timm/resnet18'"):
        get("head", "timm/resnet18")


def test_info_shows_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "timm/test_vit"]) == 0
    out = capsys.readouterr().out
    for told in ("encoder timm/test_vit  (crl-timm ", "  pretrained: bool = False", "  size: int | None = None"):
        assert told in out


def test_a_model_is_one_class_whoever_asks() -> None:
    assert get("encoder", "timm/test_vit") is opened("test_vit") is encoders.test_vit
    assert get("encoder", "timm/test_vit") is not get("encoder", "timm/test_resnet")
    assert not hasattr(encoders, "no_such_model")


def test_other_names_import_no_timm() -> None:
    code = (
        "import sys, crl_core as crl; crl.make('loss', 'info-nce'); from crl_core.registry.hooks import listeners; "
        "assert not listeners().failed; assert 'crl_timm.hooks' in sys.modules; assert 'timm' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# -- in a pipeline ----------------------------------------------------------------------------------------------


class Doubled:
    """Both views are the images, with noise."""

    views = ("a", "b")

    def __init__(self, noise: float = 0.01) -> None:
        self.noise = noise

    def __call__(self, batch: crl.View) -> dict[str, crl.View]:
        return {
            name: crl.View(batch.data + self.noise * torch.randn_like(batch.data), batch.meta) for name in self.views
        }

    def clean(self, batch: crl.View) -> crl.View:
        return batch


def pipeline(**options: Any) -> crl.Pipeline:
    crl.register("sampler", "doubled", Doubled)
    return crl.Pipeline("doubled", encoder=make("test_vit", size=32, **options), head=crl.MLP(8), loss="info-nce")


def pairs_found(pipeline: crl.Pipeline, batch: crl.View) -> tuple[float, float]:
    """How often one view's nearest is the other view of its image, in four draws; and the spread of the views."""
    pipeline.eval()
    found = []
    with torch.no_grad():
        for _ in range(4):
            views = pipeline.sampler(batch)
            a, b = (F.normalize(pipeline.encode(views[name]), dim=1) for name in ("a", "b"))
            found.append((a @ b.T).argmax(1) == torch.arange(len(batch)))
    pipeline.train()
    return float(torch.stack(found).float().mean()), float(crl.spread(a))


def images(count: int = 4) -> crl.View:
    return crl.View(torch.rand(count, 3, 32, 32), {"instance": torch.arange(count)})


def test_the_spec_has_its_name_and_options_and_comes_back(tmp_path: Path) -> None:
    description = describe(pipeline(mean=0.5))
    assert spec.plain(description)["branches"]["query"]["encoder"] == {
        "use": "timm/test_vit", "pretrained": False, "channels": 3, "mean": 0.5, "size": 32,
    }  # fmt: skip
    spec.write(spec.plain(description), tmp_path / "spec.toml")
    assert describe(assemble(spec.read(tmp_path / "spec.toml"))) == description
    assert "crl-timm" in requirements(spec.plain(description))
    with pytest.raises(SpecError, match=r"^e: timm/test_vit\b.*'chanels'.*'channels'"):
        part_from("encoder", {"use": "timm/test_vit", "chanels": 1}, "e")


def test_a_model_of_weights_of_its_own_name_has_that_name_in_the_spec() -> None:
    encoder = make("resnet18.a1_in1k", channels=1)
    assert part_of("encoder", encoder, "e").use == "timm/resnet18.a1_in1k"


def test_a_pipeline_with_it_learns() -> None:
    batch = images(16)
    trained = pipeline().replace("sampler", Doubled(noise=0.3)).build(batch).train()
    untrained, _ = pairs_found(trained, batch)
    optimiser = torch.optim.Adam(trained.parameters(), 1e-3)
    for _ in range(40):
        loss = trained.loss(batch).total
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    found, spread = pairs_found(trained, batch)
    assert untrained < 0.85
    assert found > 0.95, (untrained, found)
    assert spread > 0.5, "not all in one point"


def test_it_can_be_pickled_for_another_process() -> None:
    for model in ("test_resnet", "resnet10t.c3_in1k"):
        encoder = make(model).eval()
        again = pickle.loads(pickle.dumps(encoder))
        assert type(again) is type(encoder)
        batch = torch.rand(1, 3, 64, 64)
        torch.testing.assert_close(again(batch), encoder(batch))


# -- timm's weights ---------------------------------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """timm with a hub that has only ones; the list says of each model that was made whether it came from there."""
    asked: list[bool] = []
    create = timm.create_model

    def created(*names: str, pretrained: bool, **options: Any) -> nn.Module:
        made: nn.Module = create(*names, **options)
        asked.append(pretrained)
        for parameter in made.parameters() if pretrained else ():
            nn.init.ones_(parameter)
        return made

    monkeypatch.setattr(encoders.timm, "create_model", created)
    return asked


def all_ones(encoder: nn.Module) -> bool:
    return all(bool((parameter == 1).all()) for parameter in encoder.parameters())


def test_weights_are_fetched_once_for_the_first_images(hub: list[bool]) -> None:
    trained = pipeline(pretrained=True)
    encoder = trained.branches["query"].encoder
    assert encoder is not None
    assert hub == [False]
    trained.build(images())
    assert all_ones(encoder)
    trained.loss(images())
    assert hub == [False, True]


def test_weights_that_are_loaded_are_kept_and_none_are_fetched(hub: list[bool]) -> None:
    weights = pipeline().build(images()).state_dict()
    again = pipeline(pretrained=True)
    again.load_state_dict(weights)
    again.loss(images())
    assert True not in hub
    torch.testing.assert_close(again.state_dict()["branches.query.encoder.net.norm.weight"],
                               weights["branches.query.encoder.net.norm.weight"])  # fmt: skip


def test_weights_that_can_not_be_had_are_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unreachable(*_: Any, pretrained: bool, **__: Any) -> nn.Module:
        if pretrained:
            raise OSError("the hub is not there")
        return nn.Identity()

    monkeypatch.setattr(encoders.timm, "create_model", unreachable)
    with pytest.raises(CrlError) as caught:
        make("resnet18", pretrained=True)(torch.rand(1, 3, 32, 32))
    for told in ("timm/resnet18: ", "OSError: the hub is not there", "HF_HOME", "pretrained=False"):
        assert told in str(caught.value)


@pytest.mark.slow
def test_without_a_network_the_real_hub_says_so_too(tmp_path: Path) -> None:
    code = (
        "import torch, crl_core as crl\n"
        "try: crl.make('encoder', 'timm/resnet18', pretrained=True)(torch.rand(1, 3, 32, 32))\n"
        "except crl.CrlError as error: print(error)"
    )
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PATH": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("timm/resnet18: its weights can't be fetched: ")


def test_weights_that_timm_does_not_have_are_refused_at_once() -> None:
    (model, *_) = [name for name in timm.list_models() if not timm.get_pretrained_cfg(name).has_weights]
    with pytest.raises(ValueError, match=rf"\btimm\b.*\bweights\b.*{model}.*\bpretrained\b"):
        make(model, pretrained=True)
