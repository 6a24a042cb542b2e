"""Encoders with maps and stages, transformers, torchvision's whole list, and encoders of patches."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest
import torch
import torchvision
from crl_vision.encoders.conv_net import ConvNet
from crl_vision.encoders.multi_scale import MultiScale
from crl_vision.encoders.patchwise import Patchwise
from crl_vision.encoders.resnet import ResNet
from crl_vision.encoders.torchvision_models import models, opened
from crl_vision.encoders.vit import ViT
from crl_vision.heads.one_place import OnePlace
from torch import nn

import crl_core as crl
from crl_core import CrlError, address_of, assemble, describe, get, make


@pytest.mark.parametrize("size", [16, 32, 64, 128])
def test_maps_of_seven_and_five_places_and_a_vector(size: int) -> None:
    encoder = MultiScale(size, 8, 24, channels=1)
    found = encoder(torch.rand(3, 1, size, size))
    assert {name: tuple(x.shape) for name, x in found.items()} == {
        "seven": (3, 49, 16), "five": (3, 25, 32), "one": (3, 24)
    }  # fmt: skip
    with pytest.raises(ValueError, match=rf"\bimages\b.*{size} × {size}.*\b20 × 24\b"):
        encoder(torch.rand(3, 1, 20, 24))


@pytest.mark.parametrize("channels", [1, 3])
def test_patches_are_encoded_as_images_are(channels: int) -> None:
    encoder = Patchwise(ConvNet(4, 2, channels)).eval()
    patches = torch.rand(3, 5, channels, 8, 8)
    found = encoder(patches)
    assert found.shape == (3, 5, 8)
    torch.testing.assert_close(found[1], encoder(patches[1]))
    assert encoder(patches[:0]).shape == (0, 5, 8)


@pytest.mark.parametrize("depth", [18, 50])
def test_stages_are_torchvisions_maps_before_the_pool(depth: int) -> None:
    names = ["stage1", "stage2", "stage3", "stage4"]
    encoder = ResNet(depth, stages=names).eval()  # type: ignore[arg-type]
    images = torch.rand(2, 3, 64, 64)
    seen: dict[str, torch.Tensor] = {}
    net = encoder.layers[1]
    for name in names:
        getattr(net, name.replace("stage", "layer")).register_forward_hook(
            lambda _, __, output, name=name: seen.update({name: output})
        )
    with torch.no_grad():
        found = encoder(images)
        pooled = encoder.layers(images)
    assert list(found) == [*names, "pooled"]
    torch.testing.assert_close(found["pooled"], pooled)
    widths = [64, 128, 256, 512] if depth == 18 else [256, 512, 1024, 2048]
    for name, width, side in zip(names, widths, (16, 8, 4, 2), strict=True):
        assert found[name].shape == (2, side * side, width)
        torch.testing.assert_close(found[name], seen[name].flatten(2).mT)


def test_a_branch_taps_a_stage_by_its_name() -> None:
    pipeline = crl.Pipeline(
        "augmented",
        branches={
            "image": crl.Branch(("a", "b"), encoder=ResNet(stem="small", stages=["stage3"])),
            "places": crl.Branch(tap="image.stage3", head=crl.MLP(8, norm=False)),
        },
        contrasts=[
            crl.Contrast("image", "image", loss=crl.InfoNCE(), positive=crl.same("instance") & ~crl.same("row"))
        ],
    )
    batch = crl.View(torch.rand(3, 3, 16, 16), {"instance": torch.arange(3)})
    table = pipeline.embed(pipeline.sampler(batch))
    assert table["places"].z.shape == (6, 16, 8)
    assert table["image"].z.shape == (6, 512)
    assert describe(assemble(describe(pipeline))) == describe(pipeline)
    assert pipeline.encode(batch).shape == (3, 512)


@pytest.mark.parametrize("norm", ["layer", "none"])
@pytest.mark.parametrize(
    "make_encoder", [lambda norm: ConvNet(4, 3, norm=norm), lambda norm: ResNet(stem="small", norm=norm)]
)
def test_without_batch_statistics_an_image_is_the_same_in_any_batch_in_training_too(
    make_encoder: Callable[[str], nn.Module], norm: str
) -> None:
    encoder = make_encoder(norm).train()
    images = torch.rand(4, 3, 16, 16)
    torch.testing.assert_close(encoder(images)[:2], encoder(images[:2]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_vit_is_torchvisions_without_its_classifier(channels: int) -> None:
    encoder = ViT(16, 4, 2, 24, 3, channels, places=True).eval()
    images = torch.rand(2, channels, 16, 16)
    with torch.no_grad():
        found = encoder(images)
        theirs = encoder.net((images - 0.5) / 0.25)
    torch.testing.assert_close(found["token"], theirs)
    assert found["places"].shape == (2, 16, 24)
    assert torch.equal(ViT(16, 4, 2, 24, 3, channels).eval()(images)[:0], theirs[:0])


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: ViT(30, 4), ValueError, r"\bsize\b.*\bpatch\b"),
        (lambda: ViT(32, 4, width=100), ValueError, r"\bwidth\b.*\bheads\b"),
        (lambda: ViT(depth=0), ValueError, "at least 1"),
        (lambda: ViT()(torch.rand(1, 3, 24, 24)), CrlError, r"\b32 × 32\b.*\b24 × 24\b.*\bsize=24\b"),
        (lambda: ViT()(torch.rand(1, 1, 32, 32)), CrlError, r"\bchannels=1\b"),
        (lambda: ResNet(norm="bach"), ValueError, r"\bnorm\b.*\bbatch, layer, none\b.*'bach'"),
        (lambda: ResNet(stages=["stage5"]), ValueError, "stages are stage1, .* not 'stage5'"),
        (lambda: ConvNet(norm="bach"), ValueError, r"\bnorm\b.*\bbatch\b"),
        (lambda: MultiScale(24), ValueError, "size is 16, 32, 64 or 128, not 24"),
        (lambda: opened("resnet18")(size=64), ValueError, r"\bresnet18\b.*\bimages\b.*\bsize\b.*\bsize\b"),
        (lambda: opened("vit_b_32")(size=64)(torch.rand(1, 3, 32, 32)), CrlError, r"\b64 × 64\b.*\b32 × 32\b"),
        (lambda: opened("alexnet")()(torch.rand(2, 3, 16, 16)), CrlError, r"\bimages\b.*\b16 × 16\b"),
    ],
)  # fmt: skip
def test_nonsense_is_refused(call: Callable[[], object], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        call()


def test_one_place_is_any_in_training_and_the_middle_one_else() -> None:
    head = OnePlace(crl.MLP(3, norm=False))
    places = torch.randn(200, 5, 4)
    head(places)
    every = head.head(places)
    found = head.train()(places)
    which = (found.unsqueeze(1) - every).abs().sum(2).argmin(1)
    assert torch.bincount(which, minlength=5).min() > 20
    torch.testing.assert_close(head.eval()(places), every[:, 2])


# -- torchvision's whole list ------------------------------------------------------------------------------

QUICK = [
    "resnet18",
    "mobilenet_v3_small",
    "squeezenet1_1",
    "shufflenet_v2_x0_5",
    "efficientnet_b0",
    "regnet_y_400mf",
    "swin_t",
    "vit_b_32",
]


def test_every_classifier_of_torchvision_has_an_address() -> None:
    assert set(models()) == set(torchvision.models.list_models(module=torchvision.models))
    for name in ("resnet18", "convnext_tiny", "vit_b_16"):
        assert get("encoder", f"vision/{name}") is opened(name)
    with pytest.raises(CrlError, match=r"\bencoder\b.*'vision/resnet19'"):
        get("encoder", "vision/resnet19")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", QUICK)
def test_torchvisions_models_give_their_features_without_the_classifier(name: str, channels: int) -> None:
    size = {"size": 64} if name.startswith("vit") else {}
    encoder = get("encoder", f"vision/{name}")(channels=channels, **size).eval()
    with torch.no_grad():
        found = encoder(torch.rand(2, channels, 64, 64))
    assert found.dim() == 2
    assert len(found) == 2
    assert found.shape[1] != 1000
    assert address_of("encoder", encoder) == f"vision/{name}"
    assert type(pickle.loads(pickle.dumps(encoder))) is type(encoder)


# Without memory for the weights; RegNet can't be made so, and has one among the quick.
WITHOUT_WEIGHTS = [name for name in models() if not name.startswith("regnet")]


@pytest.mark.slow
@pytest.mark.parametrize("name", WITHOUT_WEIGHTS)
def test_every_model_encodes_and_its_classifier_is_gone(name: str) -> None:
    size = 299 if name == "inception_v3" else 224
    with torch.no_grad(), torch.device("meta"):
        encoder = opened(name)().eval()
        found = encoder(torch.empty(2, 3, size, size))
    assert found.shape[0] == 2
    assert found.dim() == 2
    assert found.shape[1] not in (1, 1000)


def test_a_model_of_torchvision_comes_back_from_its_spec() -> None:
    pipeline = crl.Pipeline(
        "augmented", encoder=make("encoder", "vision/mobilenet_v3_small"), score=crl.Cosine(), loss=crl.InfoNCE()
    )
    again = assemble(describe(pipeline))
    assert describe(again) == describe(pipeline)
    assert describe(again).options["branches"]["query"]["encoder"].use == "vision/mobilenet_v3_small"
