"""Worlds of objects: C-SWM's pictures, its energy, and its ranking."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from crl_graph.evaluators.next_state_ranking import NextStateRanking, ranks
from crl_graph.heads.transition import Transition
from crl_graph.recipes.c_swm import c_swm
from crl_graph.sources.blocks import DIRECTIONS, Blocks, drawn, pushed, walked
from torch import Tensor

import crl_core as crl
from crl_core import CrlError, View

TINY = Blocks(episodes=4, steps=8, test_episodes=6)


def steps(count: int = 16) -> View:
    return TINY.items("train").__getitems__(list(range(count)))


def test_the_loss_is_the_sources_energy() -> None:
    """Half over σ² times the squared distance, a mean over objects; the negative without the transition."""
    batch = steps()
    pipeline = crl.recipe(c_swm, source=TINY, hidden=32).pipeline.build(batch).double().train()
    torch.manual_seed(3)
    losses = pipeline.loss(batch)
    torch.manual_seed(3)
    other = pipeline.sampler(batch)["step"].data["other"]
    head: Any = pipeline.branches["predicted"].head
    met = losses.embeddings["met"].z
    after, predicted, before = met[:, 0], losses.embeddings["predicted"].z[:, 0], losses.embeddings["predicted"].z[:, 1]

    def energy(one: Tensor, two: Tensor) -> Tensor:
        return (0.5 / 0.5**2) * (one - two).view(-1, 5, 2).square().sum(2).mean(1)

    torch.testing.assert_close(predicted, head.step(before, batch.data["action"]))
    torch.testing.assert_close(met[:, 1], before[other])
    expected = energy(predicted, after).mean() + F.relu(1 - energy(before, before[other])).mean()
    torch.testing.assert_close(losses.total, expected, rtol=1e-10, atol=1e-10)
    wrong = energy(predicted, after).mean() + F.relu(1 - energy(predicted, before[other])).mean()
    assert not torch.allclose(losses.total, wrong, rtol=1e-6), "the transition has no part in the negative"


def test_the_transition_is_a_perceptron_on_every_pair() -> None:
    head = Transition(objects=4, actions=3, hidden=6)
    state, action = torch.randn(5, 8), torch.randint(0, 12, (5,))
    head.step(state, action)
    head = head.double()
    state = state.double()
    objects = state.view(5, 4, 2)
    told = F.one_hot(action, 12).view(5, 4, 3).double()
    rows = []
    for i in range(4):
        messages = [
            head.message(head.edge(head.pair(torch.cat([objects[:, i], objects[:, j]], 1)))) for j in range(4) if j != i
        ]
        rows.append(objects[:, i] + head.node(torch.cat([objects[:, i], told[:, i], sum(messages)], 1)))
    torch.testing.assert_close(head.step(state, action), torch.cat(rows, 1), rtol=1e-10, atol=1e-10)


def test_an_action_pushes_one_object_unless_something_is_in_its_way() -> None:
    place = torch.tensor([[[0, 0], [0, 1], [2, 2], [4, 4], [3, 0]]]).repeat(4, 1, 1)
    # Object 0 up (the edge), object 0 to the right (taken), object 2 down, object 3 to the left.
    action = torch.tensor([0, 1, 2 * 4 + 2, 3 * 4 + 3])
    after = pushed(place, action)
    assert torch.equal(after[:2], place[:2])
    assert after[2, 2].tolist() == [3, 2]
    assert after[3, 3].tolist() == [4, 3]
    assert int((after != place).any(-1).sum()) == 2


def test_worlds_keep_their_objects_apart_and_come_from_their_seed() -> None:
    made = walked(50, 30, torch.Generator().manual_seed(0))
    cell = made.place[..., 0] * 5 + made.place[..., 1]
    assert int(cell.min()) >= 0
    assert int(cell.max()) < 25
    assert bool((cell.sort(-1).values.diff(dim=-1) > 0).all()), "two objects on one cell"
    moved = (made.place[:, 1:] - made.place[:, :-1]).abs().sum((-1, -2))
    assert set(moved.unique().tolist()) == {0, 1}
    assert torch.equal(made.place, walked(50, 30, torch.Generator().manual_seed(0)).place)
    assert not torch.equal(TINY.items("train").episodes.place[:4, 0], TINY.items("test").episodes.place[:4, 0])
    assert len(DIRECTIONS) == 4


@pytest.mark.parametrize("shape", ["shapes", "cubes"])
def test_pictures_show_where_objects_are(shape: Any) -> None:
    made = walked(20, 1, torch.Generator().manual_seed(0))
    pictures = drawn(made.place[:, 0], shape)
    assert pictures.shape == (20, 3, 50, 50)
    assert pictures.dtype == torch.uint8
    assert len(torch.unique(pictures.flatten(1), dim=0)) == 20
    one = drawn(made.place[3:4, 0], shape)
    assert torch.equal(one[0], pictures[3])
    lit = pictures.any(1).flatten(1).float().mean(1)
    assert float(lit.min()) > 0.04
    assert float(lit.max()) < 0.3


def test_shapes_stay_in_their_cells() -> None:
    made = walked(20, 1, torch.Generator().manual_seed(1))
    pictures = drawn(made.place[:, 0], "shapes")
    lit = pictures.any(1).view(20, 5, 10, 5, 10).any(4).any(2)
    expected = torch.zeros(20, 25, dtype=torch.bool)
    expected.scatter_(1, made.place[:, 0, :, 0] * 5 + made.place[:, 0, :, 1], torch.ones(20, 5, dtype=torch.bool))
    assert torch.equal(lit.flatten(1), expected)


def test_ranks_count_what_is_nearer() -> None:
    true = torch.tensor([[0.0], [1.0], [2.0], [2.0]])
    predicted = torch.tensor([[0.1], [1.9], [2.0], [0.0]])
    assert ranks(predicted, true).tolist() == [1, 3, 1, 3]


def test_a_perfect_world_model_is_always_first() -> None:
    class Places(torch.nn.Module):
        """Reads the places off the pictures, as a table of cells that are lit in each colour."""

        def forward(self, pictures: Tensor) -> Tensor:
            return pictures.float().view(-1, 3, 5, 10, 5, 10).mean((3, 5)).flatten(1) / 255

    class Stays(torch.nn.Module):
        def forward(self, features: Any) -> Tensor:
            return features["state"]

        def step(self, state: Tensor, action: Tensor) -> Tensor:
            return self.next.pop(0)

    pipeline = crl.recipe(c_swm, source=TINY, hidden=32).pipeline.build(steps()).eval()
    pipeline.branches["states"].encoder = Places()
    head = pipeline.branches["predicted"].head = Stays()
    place = TINY.items("test").episodes.place
    head.next = [Places()(drawn(place[:, time], "shapes")) for time in range(1, 11)]
    figures = NextStateRanking()(pipeline, TINY, "test")
    assert set(figures.values()) == {1.0}
    assert len(figures) == 6
    head.next = [Places()(drawn(place[:, 0], "shapes")) for _ in range(10)]
    assert NextStateRanking((10,))(pipeline, TINY, "test")["hits@1, 10 steps"] < 0.7


def test_ranking_says_what_it_needs() -> None:
    from crl_graph.recipes.dgi import dgi

    made = crl.recipe(dgi, size=8)
    with pytest.raises(CrlError, match="episode"):
        NextStateRanking()(made.pipeline, made.source, "val")


@pytest.mark.slow
def test_the_next_state_is_found_among_all() -> None:
    source = Blocks(episodes=100, steps=50, test_episodes=200)
    made = crl.recipe(c_swm, source=source, hidden=64, epochs=25)
    fitted = crl.fit(made.pipeline, source, made.training, accelerator="cpu", show=False)
    figures = crl.evaluate(fitted.pipeline, source).figures
    one = figures["hits@1, 1 steps"]["test"]
    assert one["untrained"] < 0.1, figures
    assert one["trained"] > 0.9, figures
