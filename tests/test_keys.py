"""Which candidates a query has: every combination of choices against its formula, written densely in float64."""

from __future__ import annotations

from collections.abc import Sequence
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import crl_core as crl
from crl_core import Bank, Contrast, CrlError, Drawn, Embeddings, InfoNCE, PerQuery, Queue, same

ROWS, WIDTH, K = 6, 4, 5
INSTANCE = same("instance")


def table(first: int, rows: int = ROWS, step: int = 1, row: int = 0, per_query: int | None = None) -> Embeddings:
    """Rows of the items `first`, `first` + 1, …; with keys per query, each query's own item and others."""
    item = torch.arange(first, first + rows)
    number = torch.arange(row, row + rows)
    if per_query is None:
        z = torch.randn(rows, WIDTH, dtype=torch.float64, requires_grad=True)
        return Embeddings(z, {"instance": item, "label": item % 3, "batch": torch.full_like(item, step), "row": number})
    z = torch.randn(rows, per_query, WIDTH, dtype=torch.float64, requires_grad=True)
    item = item.unsqueeze(1) + 100 * torch.arange(per_query)
    columns = {"instance": item, "label": item % 3, "batch": torch.full_like(item, step), "row": item + 1000}
    return Embeddings(z, columns)


def info_nce(scores: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """Of each query `[N]` that has a positive: log Σ over positives and negatives, less the positives' mean."""
    rows = zip(scores, positive, negative, strict=True)
    return torch.stack([row[good | bad].exp().sum().log() - row[good].mean() for row, good, bad in rows if good.any()])


def dense(query: Embeddings, blocks: Sequence[Embeddings]) -> tuple[Tensor, Tensor]:
    """The scores `[N, M]` with all blocks, and the instances of the keys: of both layouts."""
    scores, items = [], []
    for block in blocks:
        if block.z.dim() == 3:
            scores.append((query.z.unsqueeze(1) * block.z).sum(-1))
            items.append(block.meta["instance"])
        else:
            scores.append(query.z @ block.z.T)
            items.append(block.meta["instance"].expand(len(query), -1))
    return torch.cat(scores, 1), torch.cat(items, 1)


def by_instance(query: Embeddings, blocks: Sequence[Embeddings]) -> Tensor:
    scores, items = dense(query, blocks)
    positive = items == query.meta["instance"].unsqueeze(1)
    return info_nce(scores, positive, ~positive)


def agree(found: Tensor, expected: Tensor, *tables: Embeddings) -> None:
    """Values and gradients."""
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    leaves = [each.z for each in tables]
    for one, other in zip(torch.autograd.grad(found, leaves), torch.autograd.grad(expected, leaves), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
        assert bool(other.any())


def of(memory: object) -> Embeddings:
    held = memory.keys()  # type: ignore[attr-defined]
    assert held is not None
    return held  # type: ignore[no-any-return]


def first_ones(weights: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """In place of a draw: the first of those that could be drawn."""
    index = weights.sign().argsort(dim=1, descending=True, stable=True)[:, :count]
    return index, weights.gather(1, index) / weights.sum(1, keepdim=True)


@pytest.fixture
def drawn_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crl_core.parts.keys.drawn._draw", first_ones)


def first_of(query: Embeddings, blocks: Sequence[Embeddings], count: int) -> tuple[Tensor, Tensor, Tensor]:
    """By `first_ones`: the scores `[N, 1 + count]` of one positive and the first negatives, and the noise of each."""
    scores, items = dense(query, blocks)
    chosen, noise = [], []
    for row, own, mine in zip(scores, items, query.meta["instance"], strict=True):
        good, bad = (own == mine).nonzero()[:1, 0], (own != mine).nonzero()[:, 0]
        chosen.append(row[torch.cat([good, bad[:count]])])
        noise.append(torch.full((1 + count,), float(len(bad))).reciprocal().log())  # as it is drawn, in float32
    positive = torch.zeros(len(query), 1 + count, dtype=torch.bool)
    positive[:, 0] = True
    return torch.stack(chosen), positive, torch.stack(noise)


# -- symmetric, with a queue ------------------------------------------------------------------------------------


def test_symmetric_with_a_queue_has_one_for_each_direction() -> None:
    """Queries against keys and the queue of keys, keys against queries and the queue of queries; the mean of all."""
    contrast = Contrast("a", "b", loss=InfoNCE(), keys=Queue(8), symmetric=True).train()
    a, b = table(0), table(0, row=ROWS)
    agree(contrast({"a": a, "b": b}).value, torch.cat([by_instance(a, [b]), by_instance(b, [a])]).mean(), a, b)
    contrast.settle()
    kept_a, kept_b = (Embeddings(each.z.detach(), each.meta) for each in (a, b))
    a, b = table(ROWS, step=2), table(ROWS, step=2, row=ROWS)
    found = contrast({"a": a, "b": b}).value
    agree(found, torch.cat([by_instance(a, [b, kept_b]), by_instance(b, [a, kept_a])]).mean(), a, b)
    contrast.settle()
    ahead, back = of(contrast.memories[0]), of(contrast.back[0])  # type: ignore[index]
    assert ahead.meta["instance"].tolist() == back.meta["instance"].tolist()
    assert not torch.equal(ahead.z, back.z)
    assert {bool((ahead.z == row).all(1).any()) for row in b.z} == {True}
    assert {bool((back.z == row).all(1).any()) for row in a.z} == {True}


def test_both_queues_of_a_symmetric_contrast_are_in_its_state() -> None:
    contrast, again = (Contrast("a", "b", loss=InfoNCE(), keys=Queue(8), symmetric=True).train() for _ in range(2))
    contrast({"a": table(0), "b": table(0, row=ROWS)})
    contrast.settle()
    again.load_state_dict(contrast.state_dict())
    for one, other in zip((*contrast.keys, *contrast.back), (*again.keys, *again.back), strict=True):  # type: ignore[misc]
        assert torch.equal(of(one).z, of(other).z)


# -- drawn keys -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("drawn_in_order")
def test_drawn_keys_next_to_a_queue() -> None:
    """A few of the batch's, and the whole queue."""
    queue = Queue(8)
    queue.update(table(50, rows=8, step=0))
    contrast = Contrast("a", "b", loss=InfoNCE(), keys=[Drawn(2), queue])
    a, b = table(0), table(0, row=ROWS)
    scores, positive, _ = first_of(a, [b], 2)
    scores = torch.cat([scores, a.z @ of(queue).z.T], 1)
    positive = F.pad(positive, (0, 8))
    agree(contrast({"a": a, "b": b}).value, info_nce(scores, positive, ~positive).mean(), a, b)


@pytest.mark.usefixtures("drawn_in_order")
def test_keys_drawn_from_a_queue_and_the_batch() -> None:
    """`of`: one pool, the batch's keys first."""
    queue = Queue(8)
    queue.update(table(50, rows=8, step=0))
    contrast = Contrast("a", "b", loss=crl.NCE(), keys=Drawn(7, of=queue)).train()
    assert list(contrast.memories) == [queue]
    a, b = table(0), table(0, row=ROWS)
    scores, positive, noise = first_of(a, [b, of(queue)], 7)
    pieces = crl.Scores.of(scores, positive)
    expected = crl.NCE()(crl.Scores(pieces.positive, pieces.negative, noise)).mean()
    agree(contrast({"a": a, "b": b}).value, expected, a, b)
    contrast.settle()
    assert set(range(ROWS)) <= set(of(queue).meta["instance"].tolist()), "and takes the batch's"


@pytest.mark.usefixtures("drawn_in_order")
def test_drawn_and_symmetric() -> None:
    """Each direction draws for its own queries."""
    contrast = Contrast("a", "b", loss=InfoNCE(), keys=Drawn(3), symmetric=True)
    a, b = table(0), table(0, row=ROWS)
    values = []
    for query, key in ((a, b), (b, a)):
        scores, positive, _ = first_of(query, [key], 3)
        values.append(info_nce(scores, positive, ~positive))
    agree(contrast({"a": a, "b": b}).value, torch.cat(values).mean(), a, b)


@pytest.mark.usefixtures("drawn_in_order")
def test_drawn_twice_stands_side_by_side() -> None:
    contrast = Contrast("a", "b", loss=InfoNCE(), keys=[Drawn(2), Drawn(3)])
    a, b = table(0), table(0, row=ROWS)
    parts = [first_of(a, [b], count) for count in (2, 3)]
    scores, positive = (torch.cat([part[i] for part in parts], 1) for i in (0, 1))
    agree(contrast({"a": a, "b": b}).value, info_nce(scores, positive, ~positive).mean(), a, b)


# -- keys per query ---------------------------------------------------------------------------------------------


def test_keys_per_query_alone() -> None:
    contrast = Contrast("a", "b", loss=InfoNCE(), keys=PerQuery())
    a, b = table(0), table(0, per_query=K)
    agree(contrast({"a": a, "b": b}).value, by_instance(a, [b]).mean(), a, b)


def test_keys_per_query_next_to_a_queue() -> None:
    """Each query's own and the whole queue; all rows of the own ones go into the queue."""
    contrast = Contrast("a", "b", loss=InfoNCE(), keys=[PerQuery(), Queue(ROWS * K)]).train()
    a, b = table(0), table(0, per_query=K)
    agree(contrast({"a": a, "b": b}).value, by_instance(a, [b]).mean(), a, b)
    contrast.settle()
    held = of(contrast.memories[0])
    torch.testing.assert_close(held.z, b.z.detach().flatten(0, 1))
    assert held.meta["instance"].tolist() == b.meta["instance"].flatten().tolist()
    a, b = table(ROWS, step=2), table(ROWS, step=2, per_query=K)
    agree(contrast({"a": a, "b": b}).value, by_instance(a, [b, held]).mean(), a, b)


@pytest.mark.usefixtures("drawn_in_order")
def test_keys_are_drawn_of_those_of_each_query() -> None:
    contrast = Contrast("a", "b", loss=InfoNCE(), keys=[PerQuery(), Drawn(2)])
    a, b = table(0), table(0, per_query=K)
    scores, positive, _ = first_of(a, [b], 2)
    agree(contrast({"a": a, "b": b}).value, info_nce(scores, positive, ~positive).mean(), a, b)


def test_keys_per_query_with_a_loss_on_pairs() -> None:
    """Of each query's keys, only its positives: here its own item, and that of one other key."""
    contrast = Contrast("a", "b", loss=crl.Regression(), positive=same("label"), keys=PerQuery())
    a, b = table(0), table(0, per_query=K)
    values = [
        2 - 2 * F.cosine_similarity(a.z[i], b.z[i, k], dim=0)
        for i in range(ROWS)
        for k in range(K)
        if a.meta["label"][i] == b.meta["label"][i, k]
    ]
    assert len(values) > ROWS
    agree(contrast({"a": a, "b": b}).value, torch.stack(values).mean(), a, b)


@pytest.mark.parametrize("estimate", [False, True], ids=["constant", "first batch"])
def test_the_samplers_noise_reaches_nce(estimate: bool) -> None:
    """NCE with the log-probability that a sampler says of each key that it drew."""
    a, b = table(0), table(0, per_query=K)
    noise = torch.rand(ROWS, K, dtype=torch.float64).log()
    b = Embeddings(b.z, {**b.meta, "log_noise": noise})
    loss = crl.NCE("first-batch") if estimate else crl.NCE()
    contrast = Contrast("a", "b", loss=loss, keys=PerQuery()).train()
    scores, items = dense(a, [b])
    positive = items == a.meta["instance"].unsqueeze(1)
    pieces = crl.Scores.of(scores, positive)
    expected = (crl.NCE("first-batch") if estimate else crl.NCE()).train()(
        crl.Scores(pieces.positive, pieces.negative, noise)
    )
    agree(contrast({"a": a, "b": b}).value, expected.mean(), a, b)
    if not estimate:
        # Gutmann, Hyvärinen 2010: the posterior that a key is data and not noise, k noise keys for each.
        log_k = torch.tensor(float(K - 1), dtype=torch.float64).log()
        logit = scores - noise - log_k
        by_hand = F.softplus(-logit[:, 0]) + F.softplus(logit[:, 1:]).sum(1)
        torch.testing.assert_close(expected, by_hand)


# -- losses on pairs --------------------------------------------------------------------------------------------


def test_a_loss_on_pairs_with_a_bank() -> None:
    """Every positive counts: the other view, and what the bank holds of the item from before."""
    bank = Bank(40, momentum=0.0)
    old = table(2, step=0)
    bank.update(old)
    contrast = Contrast("a", "b", loss=crl.Regression(), keys=bank).train()
    a, b = table(0), table(0, row=ROWS)
    pairs = [(i, b.z[i]) for i in range(ROWS)] + [(i, old.z[i - 2].detach()) for i in range(2, ROWS)]
    values = [2 - 2 * F.cosine_similarity(a.z[i], key, dim=0) for i, key in pairs]
    agree(contrast({"a": a, "b": b}).value, torch.stack(values).mean(), a, b)
    contrast.settle()
    assert of(bank).meta["instance"].tolist() == list(range(8))


def test_a_loss_on_pairs_of_a_memory_alone() -> None:
    bank = Bank(40, momentum=0.0)
    old = table(3, step=0)
    bank.update(old)
    contrast = Contrast("a", None, loss=crl.Regression(), keys=bank)
    a = table(0)
    values = [2 - 2 * F.cosine_similarity(a.z[i], old.z[i - 3].detach(), dim=0) for i in range(3, ROWS)]
    term = contrast({"a": a})
    agree(term.value, torch.stack(values).mean(), a)
    assert int(term.ignored) == 3


def test_a_statistic_of_pairs_with_a_queue() -> None:
    """A loss of all pairs together sees those with the queue too."""
    queue = Queue(16)
    old = table(0, step=0)
    queue.update(old)
    contrast = Contrast("a", "b", loss=crl.VICReg(), keys=queue)
    a, b = table(0), table(0, row=ROWS)
    key = torch.stack([b.z, old.z.detach()], 1).flatten(0, 1)
    expected = crl.VICReg()(a.z.repeat_interleave(2, 0), key)
    agree(contrast({"a": a, "b": b}).value, expected, a, b)


# -- several memories, and what stands there --------------------------------------------------------------------


def test_two_memories_stand_side_by_side_and_take_the_same() -> None:
    queue, bank = Queue(4), Bank(40, momentum=0.0)
    contrast = Contrast("a", "b", loss=InfoNCE(), keys=[queue, bank]).train()
    assert list(contrast.memories) == [queue, bank]
    contrast({"a": table(0), "b": table(0, row=ROWS)})
    contrast.settle()
    blocks = [of(queue), of(bank)]
    assert [len(block) for block in blocks] == [4, ROWS]
    a, b = table(20, step=2), table(20, step=2, row=ROWS)
    agree(contrast({"a": a, "b": b}).value, by_instance(a, [b, *blocks]).mean(), a, b)


@pytest.mark.parametrize(
    "keys",
    ["queue", Queue, Queue(4), [Queue(4)], (Queue(4),), ["queue"]],
    ids=["name", "class", "instance", "list", "tuple", "list of names"],
)
def test_one_choice_or_several_in_any_form(keys: object) -> None:
    contrast = Contrast("a", "b", loss=InfoNCE(), keys=keys)  # type: ignore[arg-type]
    assert [type(one) for one in contrast.keys] == [Queue]
    assert [type(one) for one in contrast.memories] == [Queue]


def test_a_query_without_keys_waits_for_its_memory() -> None:
    contrast = Contrast("a", None, loss=InfoNCE(), keys=Queue(8)).train()
    term = contrast({"a": table(0)})
    assert (float(term.value.detach()), int(term.ignored)) == (0.0, ROWS)
    contrast.settle()
    assert of(contrast.memories[0]).meta["instance"].tolist() == list(range(ROWS)), "the queries are its keys"


def test_terms_are_refused_by_name() -> None:
    class Odd(nn.Module):
        takes = "score"

        def forward(self, scores: crl.Scores) -> Tensor:
            return scores.positive.mean()

    with pytest.raises(CrlError, match=r"\bOdd\b.*'score'.*\bloss\b.*\bscores, pairs, batch\b.*'scores'"):
        Contrast("a", "b", loss=Odd())


def test_memories_take_what_the_score_would_have_them_hold() -> None:
    contrast = Contrast("a", "b", loss=InfoNCE(), score=crl.Cosine(0.5), keys=Queue(8), symmetric=True).train()
    with mock.patch.object(crl.Cosine, "for_memory", wraps=contrast.score.for_memory) as asked:  # type: ignore[attr-defined]
        contrast({"a": table(0), "b": table(0, row=ROWS)})
    assert asked.call_count == 2
    contrast.settle()
    for one in (contrast.keys[0], contrast.back[0]):  # type: ignore[index]
        torch.testing.assert_close(of(one).z.norm(dim=1), torch.ones(ROWS, dtype=torch.float64))
