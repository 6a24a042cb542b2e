"""Skip-gram with negative sampling (Mikolov et al. 2013): keys that are drawn for each query."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from compositions.structure import slices, train
from torch import Tensor, nn

import crl_core as crl

WORDS, TOPICS, WINDOW, NOISE = 60, 6, 3, 5


def corpus(length: int) -> Tensor:
    """Sentences of ten words, each about one topic; some words are far more frequent than others."""
    frequency = 1 / torch.arange(1, WORDS // TOPICS + 1).float()
    topic = torch.randint(0, TOPICS, (length // 10, 1))
    return (torch.multinomial(frequency, length, replacement=True).view(-1, 10) * TOPICS + topic).flatten()


class SkipGram:
    """Centre words, each with one word of its window, and noise words drawn by count^0.75."""

    views = ("centre", "keys")

    def __init__(self, text: Tensor) -> None:
        self.text = text
        self.noise = torch.bincount(text, minlength=WORDS).float() ** 0.75

    def __call__(self, batch: crl.View) -> dict[str, crl.View]:
        place = batch.data
        # The window's width is drawn anew for every centre: near words count more.
        reach = (torch.rand(len(place)) * torch.randint(1, WINDOW + 1, (len(place),))).floor().long() + 1
        other = (place + torch.where(torch.rand(len(place)) < 0.5, reach, -reach)) % len(self.text)
        context = self.text[other]
        drawn = torch.multinomial(self.noise, len(place) * NOISE, replacement=True).view(-1, NOISE)
        keys = torch.cat([context[:, None], drawn], dim=1)
        slot = torch.arange(NOISE + 1).clamp(max=1).expand_as(keys)
        return {
            "centre": crl.View(self.text[place], {**batch.meta, "word": context, "slot": torch.zeros_like(context)}),
            "keys": crl.View(keys, {**batch.meta, "word": keys, "slot": slot}),
        }

    def clean(self, batch: crl.View) -> crl.View:
        return crl.View(self.text[batch.data], batch.meta)


class Table(nn.Embedding):
    """One vector a word; the published start: small for the words, zero for the contexts."""

    def __init__(self, start: float) -> None:
        super().__init__(WORDS, 16)
        nn.init.uniform_(self.weight, -start, start)


class NegativeSampling(nn.Module):
    """-log σ(s⁺) - Σ log σ(-s⁻) (Mikolov et al. 2013, equation 4)."""

    takes = "scores"

    def forward(self, scores: crl.Scores) -> Tensor:
        return scores.positive.sum(lambda s: F.softplus(-s)) + scores.negative.sum(F.softplus)


def word2vec(text: Tensor) -> crl.Pipeline:
    return crl.Pipeline(
        SkipGram(text),
        branches={
            "centre": crl.Branch("centre", encoder=Table(0.5 / 16)),
            "keys": crl.Branch("keys", encoder=Table(0.0)),
        },
        contrasts=[
            # Noise that happens to be the word itself is neither: it is skipped, as in the original.
            crl.Contrast(
                "centre", "keys", keys=crl.PerQuery(), loss=NegativeSampling(),
                positive=crl.same("word") & crl.same("slot"), negative=~crl.same("word"),
            )
        ],
    )  # fmt: skip


def places(text: Tensor) -> crl.View:
    return crl.View(torch.arange(len(text)), {"instance": torch.arange(len(text))})


def same_topic(pipeline: crl.Pipeline) -> float:
    """How often a word's nearest other word is about the same topic."""
    encoder = pipeline.branches["centre"].encoder
    assert isinstance(encoder, Table)
    z = F.normalize(encoder.weight.detach(), dim=1)
    nearest = (z @ z.T).fill_diagonal_(-1).argmax(1)
    return float((nearest % TOPICS == torch.arange(WORDS) % TOPICS).float().mean())


def test_words_of_one_topic_come_together() -> None:
    text = corpus(30_000)
    pipeline = word2vec(text)
    untrained = same_topic(pipeline)
    losses = train(pipeline, slices(places(text), 512), steps=300, rate=1e-2)
    assert untrained < 0.4, "chance is .15"
    assert same_topic(pipeline) > 0.9
    assert losses[0] > 1.2 * losses[-1]


def test_the_loss_is_the_formula_and_skips_noise_that_is_the_word_itself() -> None:
    text = corpus(1_000)
    pipeline = word2vec(text).double()
    batch = places(text)
    views = pipeline.sampler(batch)
    table = pipeline.embed(views)
    nn.init.normal_(pipeline.branches["keys"].encoder.weight)  # type: ignore[union-attr, arg-type]
    table = pipeline.embed(views)
    centre, keys, word = table["centre"].z, table["keys"].z, views["keys"].data
    scores = torch.einsum("nd,nkd->nk", centre, keys)
    skipped = word[:, 1:] == word[:, :1]
    assert 0.01 < float(skipped.float().mean()) < 0.2, "it does happen"
    noise = F.logsigmoid(-scores[:, 1:]).masked_fill(skipped, 0.0).sum(1)
    expected = -(F.logsigmoid(scores[:, 0]) + noise).mean()
    torch.testing.assert_close(pipeline.contrasts[0](table).value, expected)


def test_only_the_words_of_the_batch_get_a_gradient() -> None:
    text = corpus(1_000)
    pipeline = word2vec(text)
    nn.init.normal_(pipeline.branches["keys"].encoder.weight)  # type: ignore[union-attr, arg-type]
    batch = crl.View(torch.arange(4), {"instance": torch.arange(4)})
    pipeline.build(batch).loss(batch).total.backward()
    weight = pipeline.branches["centre"].encoder.weight  # type: ignore[union-attr]
    moved = weight.grad.abs().sum(1) > 0  # type: ignore[union-attr, operator]
    assert set(moved.nonzero().flatten().tolist()) == set(text[:4].tolist())
    case = pipeline.explain(batch, 2).cases[0]
    assert (case.positive.count, case.negative.count + case.neither) == (1, NOISE)
