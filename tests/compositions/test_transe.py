"""TransE (Bordes et al. 2013): a query of two inputs, and a corrupted triple beside each true one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from compositions.structure import slices, train
from torch import Tensor, nn

import crl_core as crl
from crl_core.method.named import NamedModules

SIDE, SHIFTS = 6, [(0, 1), (0, -1), (1, 0), (-1, 0), (1, 1)]
ENTITIES, RELATIONS = SIDE * SIDE, len(SHIFTS)
MARGIN = 0.1  # less than the paper's 1: on the sphere, a grid of places has to lie close together


def facts() -> Tensor:
    """All triples (head, relation, tail) of places on a grid and the steps between them."""
    found = [
        (x * SIDE + y, relation, (x + dx) * SIDE + y + dy)
        for x in range(SIDE)
        for y in range(SIDE)
        for relation, (dx, dy) in enumerate(SHIFTS)
        if 0 <= x + dx < SIDE and 0 <= y + dy < SIDE
    ]
    return torch.tensor(found)


class Corrupted:
    """Every triple, and beside it one whose head or tail, by a coin for each, is another entity."""

    views = ("head", "relation", "tail")

    def __call__(self, batch: crl.View) -> dict[str, crl.View]:
        triple = batch.data
        side = torch.where(torch.rand(len(triple)) < 0.5, 0, 2)
        rows = torch.arange(len(triple))
        false = triple.clone()
        false[rows, side] = (triple[rows, side] + torch.randint(1, ENTITIES, (len(triple),))) % ENTITIES
        both = torch.stack([triple, false], dim=1)
        slot = torch.arange(2).expand(len(triple), 2)
        meta = {**batch.meta, "truth": torch.zeros_like(slot)}
        return {
            "head": crl.View(both[..., 0], meta),
            "relation": crl.View(both[..., 1], meta),
            "tail": crl.View(both[..., 2], {**batch.meta, "truth": slot}),
        }

    def clean(self, batch: crl.View) -> crl.View:
        return batch


class Entities(nn.Embedding):
    """Vectors of length 1, again after every step."""

    def __init__(self) -> None:
        super().__init__(ENTITIES, 24)
        self.on_step(crl.Progress(0, 0, 0, 0))

    @torch.no_grad()
    def on_step(self, progress: crl.Progress) -> None:
        self.weight.copy_(F.normalize(self.weight, dim=1))


class Relations(nn.Embedding):
    """Vectors of length 1 at the start."""

    def __init__(self) -> None:
        super().__init__(RELATIONS, 24)
        with torch.no_grad():
            self.weight.copy_(F.normalize(self.weight, dim=1))


class Translation(nn.Module):
    def forward(self, features: dict[str, Tensor]) -> Tensor:
        return features["head"] + features["relation"]


class MarginRanking(nn.Module):
    """max(0, margin + d⁺ - d⁻), summed over the negatives (Bordes et al. 2013, equation 1)."""

    takes = "scores"

    def forward(self, scores: crl.Scores) -> Tensor:
        distance = -scores.positive.mean().unsqueeze(-1)
        return scores.negative.sum(lambda s: F.relu(MARGIN + distance + s))


def transe() -> crl.Pipeline:
    entities = Entities()
    return crl.Pipeline(
        Corrupted,
        branches={
            "query": crl.Branch(
                ("head", "relation"), encoder={"head": entities, "relation": Relations()}, head=Translation()
            ),
            "tail": crl.Branch("tail", encoder=entities),
        },
        contrasts=[
            crl.Contrast(
                "query", "tail", keys=crl.PerQuery(), score=crl.L2(), loss=MarginRanking(),
                positive=crl.same("truth"), negative=~crl.same("truth"),
            )
        ],
    )  # fmt: skip


def hits(pipeline: crl.Pipeline, asked: Tensor, known: Tensor) -> float:
    """How often the true tail is the nearest entity, other true tails left out."""
    query = pipeline.branches["query"].encoder
    assert isinstance(query, NamedModules)
    entities, relations = query["head"].weight.detach(), query["relation"].weight.detach()
    distance = torch.cdist(entities[asked[:, 0]] + relations[asked[:, 1]], entities)
    for i, (head, relation, tail) in enumerate(asked.tolist()):
        others = known[(known[:, 0] == head) & (known[:, 1] == relation) & (known[:, 2] != tail), 2]
        distance[i, others] = torch.inf
    return float((distance.argmin(1) == asked[:, 2]).float().mean())


def test_held_out_facts_are_found() -> None:
    every = facts()
    every = every[torch.randperm(len(every))]
    held, known = every[:20], every[20:]
    data = crl.View(known, {"instance": torch.arange(len(known))})
    pipeline = transe()
    untrained = hits(pipeline, held, every)
    train(pipeline, slices(data, 64), steps=3_000, rate=3e-3)
    trained = hits(pipeline, held, every)
    assert untrained < 0.2, "chance is .03"
    assert trained > 0.6, (untrained, trained)


def test_entities_stay_on_the_sphere_and_are_one_table() -> None:
    data = crl.View(facts(), {"instance": torch.arange(len(facts()))})
    pipeline = transe()
    train(pipeline, slices(data, 16), steps=3)
    tail = pipeline.branches["tail"].encoder
    assert isinstance(tail, Entities)
    torch.testing.assert_close(tail.weight.norm(dim=1), torch.ones(ENTITIES))
    assert pipeline.branches["query"].encoder["head"] is tail  # type: ignore[index]
    relations = pipeline.branches["query"].encoder["relation"].weight  # type: ignore[index]
    assert not torch.allclose(relations.norm(dim=1), torch.ones(RELATIONS)), "only at the start"


def test_the_loss_is_the_margin_between_a_triple_and_its_corruption() -> None:
    data = crl.View(facts(), {"instance": torch.arange(len(facts()))})
    pipeline = transe().double()
    views = pipeline.sampler(data)
    same = (views["head"].data[:, 0] == views["head"].data[:, 1]).float().mean()
    assert 0.35 < float(same) < 0.65, "head or tail, by a coin for each triple"
    query = pipeline.branches["query"].encoder
    assert isinstance(query, NamedModules)
    h, r, t = (
        part(views[name].data)
        for part, name in ((query["head"], "head"), (query["relation"], "relation"), (query["head"], "tail"))
    )
    distance = (h + r - t).norm(dim=-1)
    expected = F.relu(MARGIN + distance[:, 0] - distance[:, 1]).mean()
    torch.testing.assert_close(pipeline.contrasts[0](pipeline.embed(views)).value, expected)


def test_a_shared_table_is_written_once_and_read_back_as_one() -> None:
    for kind, name, part in (
        ("sampler", "corrupted", Corrupted), ("encoder", "entities", Entities), ("encoder", "relations", Relations),
        ("head", "translation", Translation), ("loss", "margin-ranking", MarginRanking),
    ):  # fmt: skip
        crl.register(kind, name, part)
    spec = crl.describe(transe())
    assert spec.options["branches"]["tail"]["encoder"].same_as == "branches.query.encoder.head"
    again = crl.assemble(spec)
    assert crl.describe(again) == spec
    assert again.branches["query"].encoder["head"] is again.branches["tail"].encoder  # type: ignore[index]
