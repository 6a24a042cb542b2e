"""Whole objectives of recipes, and what lightly's loss makes of the same embeddings, where lightly is installed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from crl_vision.sources.digits import Digits
from torch import Tensor

import crl_core as crl
from crl_core import Losses, Pipeline, View

pytestmark = pytest.mark.peers
COUNT = 24


def digits(first: int = 0) -> View:
    view = Digits().items("train").__getitems__(list(range(first, first + COUNT)))
    return View(view.data.double() / 255, view.meta)


class Exact:
    """A sampler whose views stay in float64."""

    views = ("a", "b")

    def __call__(self, batch: View) -> dict[str, View]:
        return {name: View(batch.data + 0.3 * torch.randn_like(batch.data), batch.meta) for name in self.views}

    def clean(self, batch: View) -> View:
        return batch


def pipeline_of(name: str, **settings: int) -> Pipeline:
    pipeline = crl.recipe(name, **settings).pipeline.double()
    pipeline.sampler = Exact()
    return pipeline.build(digits()).train()


def agree(pipeline: Pipeline, theirs: Callable[[Losses], Tensor]) -> None:
    """The same value, and the same gradient for the encoder."""
    losses = pipeline.loss(digits())
    weight = next(parameter for parameter in pipeline.parameters() if parameter.requires_grad)
    mine, other = (
        [value.detach(), *torch.autograd.grad(value, [weight], retain_graph=True)]
        for value in (losses.total, theirs(losses))
    )
    torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-9)


def sides(losses: Losses, branch: str) -> tuple[Tensor, Tensor]:
    """The two views' embeddings of a branch that reads both."""
    one, other = losses.embeddings[branch].z.split(COUNT)
    return one, other


def test_simclr_and_its_second_version_are_nt_xent() -> None:
    lightly = pytest.importorskip("lightly.loss")
    for name, branch, temperature in (("simclr", "query", 0.5), ("simclr-v2", "projection", 0.1)):
        theirs = lightly.NTXentLoss(temperature)
        agree(pipeline_of(name), lambda losses, b=branch, loss=theirs: loss(*sides(losses, b)))


def test_simclr_with_another_loss_is_dcl() -> None:
    lightly = pytest.importorskip("lightly.loss")
    theirs = lightly.DCLLoss(temperature=0.5)
    # Each view stands against all others of other images; theirs leaves the positive out in the same way.
    agree(pipeline_of("simclr").replace("loss", crl.Decoupled()), lambda losses: theirs(*sides(losses, "query")))


@pytest.mark.parametrize("name", ["byol", "simsiam"])
def test_byol_and_simsiam_are_negative_cosines_in_both_directions(name: str) -> None:
    lightly = pytest.importorskip("lightly.loss")
    theirs = lightly.NegativeCosineSimilarity()
    online = "online" if name == "byol" else "prediction"

    def both(losses: Losses) -> Tensor:
        (one, other), (first, second) = sides(losses, online), sides(losses, "target")
        value: Tensor = 2 + theirs(one, second) + theirs(other, first)
        return value

    agree(pipeline_of(name), both)


@pytest.mark.parametrize(("name", "loss"), [("barlow-twins", "BarlowTwinsLoss"), ("vicreg", "VICRegLoss")])
def test_barlow_twins_and_vicreg_take_each_view_by_itself(name: str, loss: str) -> None:
    theirs = getattr(pytest.importorskip("lightly.loss"), loss)()
    agree(
        pipeline_of(name),
        lambda losses: theirs(losses.embeddings["one"].z, losses.embeddings["other"].z),
    )


def test_w_mse_deals_the_pairs_into_slices() -> None:
    lightly = pytest.importorskip("lightly.loss.wmse_loss")
    width = COUNT // 4
    theirs = lightly.WMSELoss(
        embedding_dim=width, w_size=2 * width, w_iter=1, num_samples=2, track_running_stats=False, eps=0.0
    )
    pipeline = pipeline_of("w-mse", width=width)
    state = torch.get_rng_state()

    def dealt(losses: Losses) -> Tensor:
        torch.set_rng_state(state)
        pipeline.sampler(digits())  # what the views have drawn
        value: Tensor = theirs(torch.cat([losses.embeddings["a"].z, losses.embeddings["b"].z]))
        return value

    agree(pipeline, dealt)


def test_nnclrs_neighbours_are_those_of_the_memory_bank() -> None:
    bank = pytest.importorskip("lightly.models.modules").NNMemoryBankModule(size=(COUNT, 256))
    pipeline = pipeline_of("nnclr", support=COUNT)
    first = pipeline.loss(digits(COUNT)).embeddings["projection"].z.detach()
    pipeline.on_step()
    support = F.normalize(first, dim=1)[-COUNT:]
    losses = pipeline.loss(digits())
    bank.bank = support.float()
    z = losses.embeddings["projection"].z.detach()
    torch.testing.assert_close(losses.embeddings["neighbour"].z.float(), bank(z.float(), update=False))

    def formula(losses: Losses) -> Tensor:
        """The authors' loss of one direction, and of the other."""
        neighbours, predictions = sides(losses, "neighbour"), sides(losses, "prediction")
        target = torch.arange(COUNT)
        terms = [
            F.cross_entropy(neighbours[i] @ F.normalize(predictions[1 - i], dim=1).T / 0.1, target) for i in range(2)
        ]
        return (terms[0] + terms[1]) / 2

    agree(pipeline, formula)


def test_moco_with_its_queue_is_nt_xent_with_a_memory_bank() -> None:
    lightly = pytest.importorskip("lightly.loss")
    for name, temperature in (("moco-v1", 0.07), ("moco-v2", 0.2)):
        pipeline = pipeline_of(name, queue=COUNT)
        pipeline.loss(digits(COUNT))
        pipeline.on_step()
        theirs = lightly.NTXentLoss(temperature, memory_bank_size=(COUNT, 128))
        held = pipeline.contrasts[0].memories[0].keys()
        assert held is not None
        theirs.memory_bank.bank = F.normalize(held.z, dim=1)

        def with_bank(losses: Losses, loss: Callable[[Tensor, Tensor], Tensor] = theirs) -> Tensor:
            return loss(losses.embeddings["query"].z, losses.embeddings["key"].z)

        agree(pipeline, with_bank)
