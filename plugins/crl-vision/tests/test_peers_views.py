"""Multi-crop and its loss as another library has them, where it is installed."""

from __future__ import annotations

import inspect

import pytest
import torch
import torch.nn.functional as F
from crl_vision.recipes.swav import swav
from crl_vision.samplers.multi_crop import MultiCrop
from crl_vision.samplers.settings import SETTINGS
from torch import Tensor

import crl_core as crl
from crl_core import Contrast, Embeddings, same

pytestmark = pytest.mark.peers

CROPS, WIDTH, PROTOTYPES = 20, 6, 9


def crops() -> list[Tensor]:
    """Two large crops and three small ones of 20 images, encoded."""
    content = torch.randn(CROPS, WIDTH, dtype=torch.float64)
    return [F.normalize(content + 0.5 * torch.randn_like(content), dim=1).requires_grad_() for _ in range(5)]


def loss_with(queue: Tensor | None = None) -> crl.SwappedAssignment:
    found = crl.SwappedAssignment(PROTOTYPES, WIDTH, queue=0 if queue is None else len(queue), queue_from=0).double()
    found.on_step(crl.Progress(0, 1, 0, 1))  # prototypes of length 1 in float64 too
    if queue is not None:
        found.on_epoch(crl.Progress(0, 1, 1, 2), lambda branch: pytest.fail("asks for nothing"))
        assert found.earlier is not None
        found.earlier.update(Embeddings(queue))
    return found


def by_crop(loss: crl.SwappedAssignment, found: list[Tensor]) -> Tensor:
    """A contrast for each large crop, which is what the peer, and SwAV's authors, assign at a time."""
    table = {f"{i}": Embeddings(z, {"instance": torch.arange(CROPS)}) for i, z in enumerate(found)}
    terms = []
    for key in "01":
        query = tuple(name for name in table if name != key)
        terms.append(Contrast(query, key, loss=loss, negative=~same("instance"))(table).value)
    return torch.stack(terms).mean()


@pytest.mark.parametrize("queued", [0, 30])
def test_lightlys_swav_with_multi_crop_and_a_queue(queued: int) -> None:
    lightly = pytest.importorskip("lightly.loss")
    found = crops()
    queue = F.normalize(torch.randn(queued, WIDTH, dtype=torch.float64), dim=1) if queued else None
    loss = loss_with(queue)
    scores = [F.normalize(z, dim=1) @ loss.table.T for z in found]
    theirs = lightly.SwaVLoss()(scores[:2], scores[2:], None if queue is None else [queue @ loss.table.T] * 2)
    ours = by_crop(loss, found)
    torch.testing.assert_close(ours, theirs.squeeze(), rtol=1e-6, atol=1e-9)
    leaves = [*found, loss.table]
    for mine, other in zip(torch.autograd.grad(ours, leaves), torch.autograd.grad(theirs, leaves), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-9)
    if queued:
        assert (by_crop(loss_with(), found) - theirs).abs() > 1e-3, "without the queue it would be another"


def test_lightlys_swav_and_the_recipes_differ_only_in_what_is_assigned_together() -> None:
    """The recipe assigns all large crops of a batch at once; of one large crop both are the same."""
    lightly = pytest.importorskip("lightly.loss")
    contrast = swav().pipeline.contrasts[0]
    first, *others = crops()
    loss = loss_with()
    columns = {"instance": torch.arange(CROPS)}
    table = {"large": Embeddings(first, {**columns, "row": torch.arange(CROPS)})}
    table["small"] = Embeddings(
        torch.cat(others), {"instance": torch.arange(CROPS).repeat(4), "row": torch.arange(CROPS, 5 * CROPS)}
    )
    ours = Contrast(contrast.query, contrast.key, loss=loss, positive=contrast.positive)(table).value
    scores = [z @ loss.table.T for z in (first, *others)]
    torch.testing.assert_close(ours, lightly.SwaVLoss()(scores[:1], scores[1:]).squeeze(), rtol=1e-6, atol=1e-9)


def test_lightlys_crops_have_the_same_sizes_areas_and_colours() -> None:
    transform = pytest.importorskip("lightly.transforms.swav_transform").SwaVTransform
    theirs = {name: p.default for name, p in inspect.signature(transform.__init__).parameters.items()}
    ours, how = MultiCrop(size=224), SETTINGS["swav"][0]
    assert theirs["crop_counts"] == (ours.large, ours.small)
    assert list(zip(theirs["crop_min_scales"], theirs["crop_max_scales"], strict=True)) == [
        ours.large_area,
        ours.small_area,
    ]
    image = crl.View(torch.rand(1, 3, 32, 32), {"instance": torch.arange(1)})
    views = ours(image)
    assert theirs["crop_sizes"] == (views["large-1"].data.shape[-1], views["small-1"].data.shape[-1])
    colours = (theirs["cj_prob"], theirs["cj_bright"], theirs["cj_contrast"], theirs["cj_sat"], theirs["cj_hue"])
    assert colours == (how.jitter, how.brightness, how.contrast, how.saturation, how.hue)
    assert (theirs["hf_prob"], theirs["random_gray_scale"], theirs["gaussian_blur"]) == (how.flip, how.grey, how.blur)
    assert tuple(theirs["sigmas"]) == how.sigma
