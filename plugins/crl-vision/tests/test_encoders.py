from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torchvision
from crl_vision.encoders.conv_net import ConvNet
from crl_vision.encoders.normalise import Normalise
from crl_vision.encoders.resnet import ResNet
from torch import nn

import crl_core as crl
from crl_core import CrlError, SpecError, assemble, describe, plain

ENCODERS: list[Callable[[int], nn.Module]] = [
    lambda channels: ConvNet(8, 3, channels),
    lambda channels: ResNet(stem="small", channels=channels),
    lambda channels: ResNet(stem="imagenet", channels=channels),
]
NAMED = pytest.mark.parametrize("make", ENCODERS, ids=["conv-net", "resnet small", "resnet imagenet"])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(16, 16), (32, 32), (9, 13)])
def test_a_conv_net_gives_one_row_for_an_image_of_any_size(channels: int, height: int, width: int) -> None:
    for wide, stages in ((32, 4), (8, 1), (4, 3)):
        found = ConvNet(wide, stages, channels)(torch.rand(3, channels, height, width))
        assert found.shape == (3, wide * 2 ** (stages - 1))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("depth", "width"), [(18, 512), (34, 512), (50, 2048)])
def test_a_resnet_gives_512_numbers_or_2048_from_depth_50_on(depth: int, width: int, channels: int) -> None:
    for stem, size in (("small", 16), ("imagenet", 64)):
        encoder = ResNet(depth, stem, channels).eval()  # type: ignore[arg-type]
        with torch.no_grad():
            assert encoder(torch.rand(2, channels, size, size)).shape == (2, width)


@pytest.mark.parametrize("depth", [18, 50, 101])
def test_a_resnet_is_torchvisions_without_its_classifier(depth: int) -> None:
    encoder, theirs = ResNet(depth), getattr(torchvision.models, f"resnet{depth}")()  # type: ignore[arg-type]
    theirs.fc = nn.Identity()
    theirs.load_state_dict(encoder.layers[1].state_dict())
    images = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        expected = theirs.double().eval()((images - 0.45) / 0.25)
        torch.testing.assert_close(encoder.double().eval()(images), expected)


def test_the_small_stem_keeps_the_size_that_imagenets_divides_by_four() -> None:
    sizes: dict[str, int] = {}
    for stem in ("small", "imagenet"):
        net = ResNet(stem=stem).layers[1]  # type: ignore[arg-type]
        assert isinstance(net, nn.Module)
        net.layer1.register_forward_hook(  # type: ignore[union-attr,operator]
            lambda _, __, output, stem=stem: sizes.update({stem: output.shape[-1]})
        )
        net.eval()(torch.rand(1, 3, 32, 32))
    assert sizes == {"small": 32, "imagenet": 8}


@NAMED
@pytest.mark.parametrize(("made", "given"), [(1, 3), (3, 1)])
def test_wrong_channels_are_told_with_the_right_ones(make: Callable[[int], nn.Module], made: int, given: int) -> None:
    said = rf"\b{made} channels\b.*\bchannels={given}\b"
    with pytest.raises(CrlError, match=said):
        make(made)(torch.rand(2, given, 16, 16))


@NAMED
def test_an_image_alone_has_the_representation_that_it_has_in_a_batch(make: Callable[[int], nn.Module]) -> None:
    encoder = make(3)
    images = torch.rand(6, 3, 32, 32)
    for _ in range(5):  # running statistics of their own
        encoder.train()(images)
    encoder.eval()
    with torch.no_grad():
        together = encoder(images)
        alone = torch.cat([encoder(image.unsqueeze(0)) for image in images])
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-4)
    assert torch.cdist(together, together).fill_diagonal_(9).min() > 1e-3, "and no two are alike"


@NAMED
def test_gradients_reach_every_parameter(make: Callable[[int], nn.Module]) -> None:
    encoder = make(3).train()
    encoder(torch.rand(4, 3, 32, 32)).square().mean().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@NAMED
def test_an_encoder_can_be_fitted(make: Callable[[int], nn.Module]) -> None:
    encoder = nn.Sequential(make(3), nn.LazyLinear(2))
    images = torch.rand(16, 3, 8, 8)
    target = torch.arange(16) % 2
    images[target == 1, 0] *= 0.7  # a little less red
    encoder(images)
    optimiser = torch.optim.Adam(encoder.parameters(), 1e-3)
    for _ in range(15):
        loss = nn.functional.cross_entropy(encoder(images), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.3


def test_images_are_normalised_inside_and_not_written_over() -> None:
    images = torch.rand(2, 3, 4, 4)
    before = images.clone()
    torch.testing.assert_close(Normalise(3, 0.4, 0.2)(images), (images - 0.4) / 0.2)
    assert torch.equal(images, before)


@NAMED
def test_encoders_come_back_from_their_spec(make: Callable[[int], nn.Module]) -> None:
    pipeline = crl.Pipeline("augmented", encoder=make(1), score=crl.Cosine(), loss=crl.InfoNCE())
    again = assemble(describe(pipeline))
    assert describe(again) == describe(pipeline)
    ours, theirs = (dict(found.branches["query"].named_parameters()) for found in (pipeline, again))
    assert {name: part.shape for name, part in ours.items()} == {name: part.shape for name, part in theirs.items()}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"depth": 17}, "depth: expected 18 or 34 or 50 or 101 or 152, not 17"),
        ({"depth": "18"}, "depth: expected 18 or 34"),
        ({"stem": "smal"}, r"\bstem\b.*'imagenet'.*'smal'.*'small'"),
        ({"chanels": 1}, "'chanels'.*'channels'"),
    ],
)
def test_a_resnet_of_another_kind_is_refused_in_a_spec(options: dict[str, object], said: str) -> None:
    data = plain(describe(crl.Pipeline("augmented", encoder=ConvNet(), score=crl.Cosine(), loss=crl.InfoNCE())))
    data["branches"]["query"]["encoder"] = {"use": "vision/resnet", **options}
    with pytest.raises(SpecError, match=said):
        assemble(data)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ResNet(17), "depth is 18, 34, 50, 101 or 152, not 17"),  # type: ignore[arg-type]
        (lambda: ResNet(stem="smal"), 'stem is "imagenet" or "small", not \'smal\''),  # type: ignore[arg-type]
        (lambda: ConvNet(stages=0), r"\bwidth\b.*\bstages\b.*\b1\b.*\b32\b.*\b0\b"),
        (lambda: ConvNet(channels=0), r"\bchannels\b.*\b1\b.*\b0\b"),
        (lambda: ConvNet(std=0.0), r"\bstd\b.*\b0\b.*\b0\.0\b"),
    ],
)
def test_encoders_of_nonsense_are_refused(make: Callable[[], nn.Module], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()
