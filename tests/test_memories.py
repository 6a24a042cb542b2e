"""Banks, cross-batch queues, prototypes and past checkpoints: what they hold, when, and after a resume."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from small import Noisy, Perceptron, points
from torch import Tensor, nn

import crl_core as crl
from crl_core import (
    Bank,
    Branch,
    Contrast,
    CrlError,
    Dot,
    Embeddings,
    InfoNCE,
    Momentum,
    Past,
    Pipeline,
    Progress,
    Prototypes,
    Queue,
    Relation,
    same,
)
from crl_core.clustering import k_means
from crl_core.parts.keys.prototypes import concentration

EARLIER = ~same("batch")


def keys(items: list[int], z: Tensor | None = None, batch: int = 1, **columns: Tensor) -> Embeddings:
    item = torch.tensor(items, dtype=torch.int64)
    z = torch.randn(len(items), 4, dtype=torch.float64) if z is None else z
    return Embeddings(z, {"instance": item, "batch": torch.full_like(item, batch), **columns})


# -- the bank ----------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=50)
@given(
    size=st.integers(1, 9),
    batches=st.lists(st.lists(st.integers(-1, 8), max_size=7), max_size=6),
    momentum=st.sampled_from([0.0, 0.5, 0.9]),
    saved=st.integers(0, 6),
)
def test_the_bank_is_a_moving_average_for_each_item(
    size: int, batches: list[list[int]], momentum: float, saved: int
) -> None:
    """Against a dictionary, with items that come twice in a batch, unknown ones, and a state saved on the way."""
    bank, expected = Bank(size, momentum), dict[int, tuple[Tensor, int]]()
    for number, items in enumerate(batches):
        batch = keys([item if item < size else -1 for item in items], batch=number)
        bank.update(batch)
        for item in set(batch.meta["instance"].tolist()) - {-1}:
            z = batch.z[batch.meta["instance"] == item].mean(0)
            if momentum:
                z = z / z.norm()
                if item in expected:
                    z = momentum * expected[item][0] + (1 - momentum) * z
                z = z / z.norm()
            expected[item] = (z, number)
        if number == saved:
            state, bank = bank.state_dict(), Bank(size, momentum)
            bank.load_state_dict(state)
    held = bank.keys()
    if not expected:
        assert held is None
        return
    assert held is not None
    assert held.meta["instance"].tolist() == sorted(expected)
    for z, item, number in zip(held.z, held.meta["instance"].tolist(), held.meta["batch"].tolist(), strict=True):
        torch.testing.assert_close(z, expected[item][0])
        assert number == expected[item][1]


def test_an_item_that_comes_twice_has_the_columns_of_its_last_row() -> None:
    bank = Bank(3)
    bank.update(keys([2, 0, 2], time=torch.tensor([0.5, 1.5, 2.5]), view=torch.tensor([0, 0, 1])))
    held = bank.keys()
    assert held is not None
    assert held.meta["time"].tolist() == [1.5, 2.5]
    assert held.meta["view"].tolist() == [0, 1]


def test_a_bank_with_every_momentum_but_zero_lies_on_the_sphere() -> None:
    long = keys([0, 1], torch.tensor([[3.0, 4.0], [0.0, 2.0]]))
    for momentum, length in ((0.5, [1.0, 1.0]), (0.0, [5.0, 2.0])):
        bank = Bank(2, momentum)
        bank.update(long)
        held = bank.keys()
        assert held is not None
        assert held.z.norm(dim=1).tolist() == pytest.approx(length)


def test_a_random_bank_holds_all_items_the_same_everywhere_and_knows_only_their_number() -> None:
    banks = [Bank(50, initial="random") for _ in range(2)]
    for seed, bank in enumerate(banks):
        torch.manual_seed(seed)
        bank.update(keys([3], torch.ones(1, 4), label=torch.tensor([7])))
    one, other = (bank.keys() for bank in banks)
    assert one is not None
    assert other is not None
    assert torch.equal(one.z, other.z)
    torch.testing.assert_close(one.z.norm(dim=1), torch.ones(50))
    assert float(one.z.mean(0).norm()) < 0.5
    assert one.meta["instance"].tolist() == list(range(50))
    assert one.meta["label"].tolist() == [7 if item == 3 else -1 for item in range(50)]
    again = Bank(50, initial="random")
    again.load_state_dict(banks[0].state_dict())
    held = again.keys()
    assert held is not None
    assert torch.equal(held.z, one.z)


def test_a_full_bank_is_handed_over_without_a_copy() -> None:
    bank = Bank(3)
    bank.update(keys([0, 1]))
    assert bank.keys().z.data_ptr() != bank.z.data_ptr()  # type: ignore[union-attr]
    bank.update(keys([2, 1]))
    assert bank.keys().z.data_ptr() == bank.z.data_ptr()  # type: ignore[union-attr]


def test_the_bank_may_go_by_another_column() -> None:
    bank = Bank(4, column="camera")
    bank.update(keys([100, 200], camera=torch.tensor([3, 1])))
    held = bank.keys()
    assert held is not None
    assert held.meta["instance"].tolist() == [200, 100]


def test_what_the_bank_refuses() -> None:
    with pytest.raises(CrlError, match=r"\b4 items, 0 … 3\b.*\binstance 4: `size`"):
        Bank(4).update(keys([1, 4]))
    with pytest.raises(CrlError, match=r"\bcolumn 'camera'.*\bkeys\b.*\bbatch, instance\b"):
        Bank(4, column="camera").update(keys([1]))
    bank = Bank(4)
    bank.update(keys([1]))
    with pytest.raises(CrlError, match=r"\bkeys\b.*\bcolumns batch, instance\b.*\bbatch, instance, time\b"):
        bank.update(keys([1], time=torch.zeros(1)))
    with pytest.raises(CrlError, match=r"\bkeys\b.*\b4 dimensions\b.*\b3\b"):
        bank.update(keys([1], torch.zeros(1, 3)))
    for options in ({"size": 0}, {"size": 2, "momentum": 1.0}, {"size": 2, "initial": "full"}):
        with pytest.raises(ValueError):
            Bank(**options)  # type: ignore[arg-type]


def instance_discrimination(items: int | None = 12) -> Pipeline:
    return Pipeline(
        Noisy(),
        branches={"query": Branch("a", encoder=Perceptron(norm=False), head=crl.MLP(4, norm=False))},
        contrasts=[
            Contrast(
                "query", None, score=crl.Cosine(0.2), loss=InfoNCE(), keys=Bank(items),
                positive=same("instance") & EARLIER, negative=~same("instance"),
            )
        ],
    )  # fmt: skip


def test_queries_count_from_the_second_epoch_on() -> None:
    pipeline = instance_discrimination().build(points()).train()
    batch = points()
    ignored = []
    for _ in range(2):
        for rows in (slice(6), slice(6, 12)):
            half = crl.View(batch.data[rows], {"instance": batch.meta["instance"][rows]})
            losses = pipeline.loss(half)
            losses.total.backward()
            ignored.append(int(losses.ignored["query"]))
            pipeline.on_step()
    assert ignored == [6, 6, 0, 0]


def test_what_is_in_the_bank_was_there_before_the_step_and_survives_a_resume() -> None:
    pipeline = instance_discrimination().build(points()).train()
    for _ in range(3):
        pipeline.loss(points())
        pipeline.on_step()
    again = instance_discrimination().build(points())
    again.load_state_dict(pipeline.state_dict())
    again.train()
    batch = points()
    found = []
    for each in (pipeline, again):
        torch.manual_seed(6)
        found.append(each.loss(batch).total.detach())
    assert torch.equal(*found)
    memory = again.contrasts[0].memories[0]
    assert memory.keys().meta["batch"].tolist() == [3] * 12
    assert not any(".keys." in name for name, _ in again.named_parameters())


class Training:
    """A source of so many items for training."""

    splits = ("train", "test")

    def __init__(self, count: int) -> None:
        self.count = count

    def items(self, split: str) -> crl.InMemory:
        return crl.InMemory(points(self.count if split == "train" else 5).data)


def met(bank: Bank, count: int) -> Bank:
    source = Training(count)
    bank.on_source(source.items("train"), source)
    return bank


def test_a_bank_learns_from_the_source_how_many_items_there_are() -> None:
    batch = keys([3, 8])
    learned, told = met(Bank(), 9), Bank(9)
    for bank in (learned, told):
        bank.update(batch)
    assert learned.room == 9
    assert learned.size is None, "what it was told: a spec says it again"
    for name, tensor in told.state_dict().items():
        torch.testing.assert_close(learned.state_dict()[name], tensor, rtol=0, atol=0, equal_nan=True)
    assert met(learned, 9).room == 9, "and again, when a run goes on"
    with pytest.raises(CrlError, match="room for 9 items, 0 … 8"):
        learned.update(keys([9]))


def test_a_bank_learns_its_size_from_a_state_and_refuses_other_data() -> None:
    full = met(Bank(initial="random"), 9)
    full.update(keys([3, 8]))
    opened = Bank(initial="random")
    opened.load_state_dict(full.state_dict())  # without data
    assert torch.equal(opened.keys().z, full.keys().z)  # type: ignore[union-attr]
    opened.update(keys([1]))
    for count in (8, 10):
        with pytest.raises(CrlError, match=rf"\b9 items\b.*\bTraining\b.*{count}"):
            met(opened, count)
    met(opened, 9)
    other = met(Bank(), 10)
    with pytest.raises(CrlError, match=r"\b10 keys\b.*\bstate\b.*\b9\b"):
        other.load_state_dict(full.state_dict())
    with pytest.raises(CrlError, match=r"\bitems\b.*\bpipeline.build\(batch, source\)"):
        Bank().update(keys([1]))


def test_what_can_not_be_counted_is_told() -> None:
    class Endless:
        def batches_from(self, *args: object) -> None: ...

    for bank, items in ((Bank(), Endless()), (Bank(column="camera"), points(4)), (crl.ClusteredBank(), Endless())):
        with pytest.raises(CrlError, match="`size`"):
            bank.on_source(items, Training(4))  # type: ignore[arg-type]
    told = Bank(7, column="camera")
    told.on_source(Endless(), Training(4))  # type: ignore[arg-type]
    assert told.room == 7
    with pytest.raises(CrlError, match=r"\b9 items\b.*\b10\b"):
        met(crl.ClusteredBank(clusters=10), 9)
    assert met(crl.ClusteredBank(clusters=9), 9).room == 9


def test_a_pipeline_hands_its_bank_the_source() -> None:
    source = Training(12)
    pipeline = instance_discrimination(None).build(points(), source).train()
    pipeline.loss(points())
    pipeline.on_step()
    assert len(pipeline.contrasts[0].memories[0].keys()) == 12  # type: ignore[arg-type]
    again = instance_discrimination(None).build(points())
    again.load_state_dict(pipeline.state_dict())
    with pytest.raises(CrlError, match=r"\b12 items\b.*\bTraining\b.*\b13\b"):
        again.build(points(), Training(13))


# -- parts with keys of their own obey the law of steps --------------------------------------------------------


@pytest.mark.parametrize("part", [crl.NearestNeighbour(50), crl.SwappedAssignment(3, 4, queue=50, queue_from=0)])
def test_what_a_part_remembers_is_settled_with_the_step_in_the_order_of_its_batches(part: nn.Module) -> None:
    part.train().double()
    queue = part.support if isinstance(part, crl.NearestNeighbour) else part.earlier
    step, embed = Progress(1, 9, 0, 9), {}.__getitem__
    if isinstance(part, crl.SwappedAssignment):
        part.on_epoch(step, embed)

    def takes(z: Tensor) -> None:
        part(z) if isinstance(part, crl.NearestNeighbour) else part(z, z)

    first, second, third = F.normalize(torch.randn(3, 4, 4).double(), dim=2)
    takes(first)
    takes(second)
    assert queue.keys() is None
    part.on_step(step)
    for found, wanted in zip(queue.keys().z.view(2, 4, 4), (first, second), strict=True):
        # Of one batch they may stand in another order: a key that stands in several pairs is one.
        torch.testing.assert_close(found.unique(dim=0), wanted.unique(dim=0).to(found.dtype))
    before = {name: tensor.clone() for name, tensor in part.state_dict().items()}
    takes(third)
    part.abandon()
    part.on_step(step)
    assert len(queue.keys()) == 8, "what was given up never joins"
    takes(third)
    part.load_state_dict(before)
    part.on_step(step)
    assert len(queue.keys()) == 8, "nor what waited in another life"
    takes(third)
    part.on_step(step)
    assert len(queue.keys()) == 12


# -- a queue beside the batch ------------------------------------------------------------------------------


def value(contrast: Contrast, table: Mapping[str, Embeddings]) -> Tensor:
    found: Tensor = contrast.train()(table).value
    return found


def rows(items: list[int], z: Tensor | None = None, first: int = 0, batch: int = 1, **columns: Tensor) -> Embeddings:
    return keys(items, z, batch, row=torch.arange(first, first + len(items)), **columns)


@pytest.mark.parametrize("memory", [Queue(6), Bank(6, momentum=0.0)], ids=["queue", "bank"])
def test_one_batch_remembered_is_the_plain_loss(memory: nn.Module) -> None:
    """The same keys, from the batch or from a memory that holds nothing else."""
    query, key = rows(list(range(6))), rows(list(range(6)), first=6)
    memory.update(key)
    plain = Contrast("query", "key", loss=InfoNCE(), negative=~same("instance"))
    remembered = Contrast("query", None, loss=InfoNCE(), negative=~same("instance"), keys=memory)
    torch.testing.assert_close(
        value(remembered, {"query": query}), value(plain, {"query": query, "key": key}), rtol=1e-14, atol=0
    )


def test_the_cross_batch_memory_is_a_queue_with_labels() -> None:
    """XBM: against the batch and the embeddings of earlier ones, by label; here two batches in one."""
    positive = same("label") & ~same("row")
    labels = torch.arange(6) % 3
    first, second = rows(list(range(6)), batch=1, label=labels), rows(list(range(6, 12)), batch=2, label=labels)
    both = Embeddings.concat([second, Embeddings(first.z, {**first.meta, "row": first.meta["row"] + 6})])
    queued = Contrast("z", "z", loss=InfoNCE(), positive=positive, keys=Queue(6))
    joined = Contrast("z", "all", loss=InfoNCE(), positive=positive)
    value(queued, {"z": first})
    queued.settle()
    found, expected = value(queued, {"z": second}), value(joined, {"z": second, "all": both})
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=0)
    queued.settle()
    held = queued.memories[0].keys()
    assert held is not None
    assert held.meta["instance"].tolist() == list(range(6, 12)), "the first batch has made room"


def test_a_memory_of_cosines_holds_directions_and_these_are_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same values as of keys of any length, and no more than rounding apart from normalising again."""
    from crl_core.parts.scores import unit as module

    monkeypatch.setattr(module, "_LARGE", 0)
    lengths = 0.1 + 5 * torch.rand(6, 1, dtype=torch.float64)
    found = {}
    for score in (crl.Cosine(0.5), Dot(0.5)):
        contrast = Contrast("z", "k", loss=InfoNCE(), score=score, keys=Queue(6)).train()
        torch.manual_seed(0)
        for step in range(3):
            items = list(range(6 * step, 6 * step + 6))
            table = {name: rows(items, batch=step) for name in "zk"}
            if isinstance(score, Dot):
                table = {n: Embeddings(F.normalize(t.z, dim=1), t.meta) for n, t in table.items()}
            else:
                table["k"] = Embeddings(table["k"].z * lengths, table["k"].meta)
            found.setdefault(step, []).append(contrast(table).value)
        contrast.settle()
        held = contrast.memories[0].keys()
        assert held is not None
        torch.testing.assert_close(held.z.norm(dim=1), torch.ones(6, dtype=torch.float64))
        assert crl.Cosine().factors(held.z.clone().requires_grad_(), held.z)[1] is held.z
        assert crl.Cosine().factors(held.z, 1.001 * held.z)[1] is not held.z
    for one, other in found.values():
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("relation", [same("instance"), same("label"), same("label") & EARLIER], ids=str)
@pytest.mark.parametrize("memory", [Queue(4), Bank(9)], ids=["queue", "bank"])
def test_any_relation_goes_with_any_memory(relation: Relation, memory: nn.Module) -> None:
    """Whatever a memory held before: as its rows stand, beside the batch's."""
    contrast = Contrast("z", "k", loss=InfoNCE(), score=Dot(0.5), positive=relation, keys=memory)
    for step in range(4):
        items = [(3 * step + i) % 9 for i in range(3)]
        label = torch.tensor(items) % 2
        table = {name: rows(items, batch=step, label=label, first=first) for name, first in (("z", 0), ("k", 3))}
        contrast.settle()
        held = contrast.memories[0].keys()
        blocks = [table["k"]] if held is None else [table["k"], held]
        everything = Embeddings.concat([Embeddings(b.z, {**b.meta, "row": b.meta["row"] * 0 - 1}) for b in blocks])
        meta = {name: column.unsqueeze(1) for name, column in table["z"].meta.items()}
        positive, negative = relation(meta, everything.meta), ~relation(meta, everything.meta)
        counted = positive.any(1)
        expected = InfoNCE()(crl.Scores.of(table["z"].z @ everything.z.T / 0.5, positive, negative))
        expected = expected[counted].sum() / counted.sum().clamp(min=1)
        torch.testing.assert_close(value(contrast, table), expected)


# -- prototypes --------------------------------------------------------------------------------------------


def groups(count: int = 60, centres: int = 4) -> tuple[Tensor, Tensor]:
    label = torch.arange(count) % centres
    return torch.eye(centres, 6).double()[label] * 3 + 0.3 * torch.randn(count, 6).double(), label


def test_k_means_finds_what_lies_together() -> None:
    z, label = groups()
    centres, cluster = k_means(z, 4)
    for k in range(4):
        assert len(label[cluster == k].unique()) == 1
        torch.testing.assert_close(centres[k], z[cluster == k].mean(0))
    assert torch.equal(k_means(z, 4)[1], cluster), "the seed alone settles it"


def test_k_means_of_repeated_rows_and_of_too_few() -> None:
    z = torch.tensor([[0.0, 0.0]] * 5 + [[1.0, 0.0]])
    centres, cluster = k_means(z, 3)
    assert bool(centres.isfinite().all())
    assert len(cluster[:5].unique()) == 1
    assert cluster[5] != cluster[0]
    with pytest.raises(CrlError, match=r"\b6 rows\b.*\b7 clusters\b"):
        k_means(z, 7)


def test_a_cluster_is_never_worse_than_at_the_start() -> None:
    z = torch.randn(200, 3)
    spans = []
    for rounds in (1, 2, 5, 50):
        centres, cluster = k_means(z, 9, seed=2, rounds=rounds)
        spans.append(float((z - centres[cluster]).square().sum()))
    assert spans == sorted(spans, reverse=True)


def test_proto_nce_is_the_papers_equation() -> None:
    z, _ = groups()
    table = Embeddings(z, {"instance": torch.arange(60)})
    memory = Prototypes(4, temperature=0.1, warmup=1)
    contrast = Contrast("query", None, loss=InfoNCE(), positive=same("cluster"), keys=memory)
    query = rows([5, 17, 3, 40, 99], torch.randn(5, 6).double())
    memory.on_epoch(Progress(0, 9, 0, 9), {"key": table}.__getitem__)
    assert memory.keys() is None, "there are none in the warm-up"
    memory.on_epoch(Progress(1, 9, 1, 9), {"key": table}.__getitem__)
    unit = F.normalize(z, dim=1)
    _, cluster = k_means(unit, 4, seed=1)
    centres = torch.stack([unit[cluster == k].mean(0) for k in range(4)])
    phi = concentration(unit, centres, cluster, 0.1)
    expected = []
    for q, item in zip(query.z, query.meta["instance"].tolist(), strict=True):
        if item < 60:
            scores = [float(q @ F.normalize(c, dim=0) / f) for c, f in zip(centres, phi, strict=True)]
            expected.append(math.log(sum(map(math.exp, scores))) - scores[int(cluster[item])])
    term = contrast.train()({"query": query})
    assert float(term.value) == pytest.approx(sum(expected) / len(expected))
    assert int(term.ignored) == 1, "an item that was not clustered"
    assert bool((memory.keys().meta["cluster"] == torch.arange(4)).all())  # type: ignore[union-attr]


def test_concentrations_of_points_that_coincide_are_the_temperature() -> None:
    z = torch.eye(3).double()
    phi = concentration(z, z, torch.arange(3), 0.2)
    torch.testing.assert_close(phi, torch.full((3,), 0.2, dtype=torch.float64))


def test_prototypes_keep_their_state_whatever_was_there_before() -> None:
    table = Embeddings(groups()[0], {"instance": torch.arange(60)})
    full, other = Prototypes(4, warmup=0), Prototypes(4, warmup=0)
    full.on_epoch(Progress(0, 1, 0, 1), {"key": table}.__getitem__)
    empty = Prototypes(4, warmup=0).state_dict()
    other.load_state_dict(full.state_dict())
    assert torch.equal(other.keys().z, full.keys().z)  # type: ignore[union-attr]
    assert torch.equal(other.cluster_of, full.cluster_of)
    other.load_state_dict(empty)
    assert other.keys() is None


def test_what_prototypes_refuse() -> None:
    for options in ({"clusters": 1}, {"clusters": 4, "temperature": 0.0}, {"clusters": 4, "warmup": -1}):
        with pytest.raises(ValueError):
            Prototypes(**options)  # type: ignore[arg-type]


# -- updates -----------------------------------------------------------------------------------------------


def test_a_past_checkpoint_is_taken_anew_every_so_many_steps() -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    update = Past(every=3)
    follower = update.follow(module)
    taken = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    for step in range(1, 8):
        with torch.no_grad():
            module[0].weight.add_(1)
        module(torch.randn(5, 3))
        update.advance(module, follower, Progress(step, 7, 0, 1))
        if step in (3, 6):
            taken = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        assert all(torch.equal(tensor, taken[name]) for name, tensor in follower.state_dict().items()), step
    assert not any(parameter.requires_grad for parameter in follower.parameters())
    with pytest.raises(ValueError, match=r"\b1 step\b"):
        Past(every=0)


def past() -> Pipeline:
    return Pipeline(
        Noisy(),
        branches={
            "query": Branch("a", encoder=Perceptron(), head=crl.MLP(4)),
            "key": Branch("b", tracks="query", update=Past(every=2)),
        },
        contrasts=[Contrast("query", "key", score=crl.Cosine(0.2), loss=InfoNCE(), negative=~same("instance"))],
    )


def test_a_branch_that_is_a_past_checkpoint_has_no_gradient_and_keeps_its_state() -> None:
    pipeline = past().build(points()).train()
    optimiser = torch.optim.SGD(pipeline.parameters(), 0.1)
    apart = []
    for _ in range(4):
        optimiser.zero_grad()
        pipeline.loss(points()).total.backward()
        optimiser.step()
        pipeline.on_step()
        encoder, copied = pipeline.branches["query"].encoder, pipeline.branches["key"].copies["encoder"]
        pairs = zip(encoder.parameters(), copied.parameters(), strict=True)
        apart.append(not all(torch.equal(a, b) for a, b in pairs))
        assert not any(module.training for module in copied.modules())
    assert apart == [True, False, True, False]
    pipeline.loss(points())
    again = past().build(points())
    again.load_state_dict(pipeline.state_dict())
    for name, tensor in again.branches["key"].state_dict().items():
        assert torch.equal(tensor, pipeline.branches["key"].state_dict()[name]), name


def test_a_schedule_waits_where_nobody_knows_how_long_the_training_is() -> None:
    """In a loop of one's own, `pipeline.on_step()` has no number of steps: the target must not stand still."""
    assert Momentum(crl.Scheduled(0.9, 1.0)).at(Progress(5, 0, 0, 0)) == pytest.approx(0.9)
    assert Momentum(crl.Scheduled(0.9, 1.0)).at(Progress(5, 5, 0, 0)) == pytest.approx(1.0)
