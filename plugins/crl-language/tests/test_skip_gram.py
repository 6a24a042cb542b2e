"""word2vec by negative sampling: its formula by hand, its start, and what it learns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from crl_language.recipes.skip_gram import skip_gram
from crl_language.tokens import Tokens
from torch import Tensor

import crl_core as crl


def weight(pipeline: crl.Pipeline, branch: str) -> Tensor:
    encoder: Any = pipeline.branches[branch].encoder
    found: Tensor = encoder.weight
    return found


def number_of(pipeline: crl.Pipeline, word: str) -> int:
    reader: Any = pipeline.reader
    found = reader.number(word)
    assert found is not None, word
    return int(found)


def small(**settings: Any) -> tuple[crl.Pipeline, crl.View]:
    made = crl.recipe(skip_gram, **settings)
    items = made.source.items("train")
    batch = items.__getitems__(list(range(8)))
    return made.pipeline.build(batch, made.source), batch


def test_the_tables_begin_as_word2vecs() -> None:
    torch.manual_seed(0)
    pipeline, _ = small(size=50)
    words, contexts = weight(pipeline, "input"), weight(pipeline, "output")
    assert len(words) == len(contexts) > 1_000
    assert not bool(contexts.any()), "the output table begins at zero"
    bound = 0.5 / 50
    assert float(words.detach().abs().max()) <= bound
    assert float(words.detach().std()) == pytest.approx(bound / 3**0.5, rel=0.01), "uniform"


def test_value_and_gradient_are_the_formula() -> None:
    torch.manual_seed(0)
    pipeline, batch = small(size=10)
    pipeline = pipeline.double()
    words, contexts = weight(pipeline, "input"), weight(pipeline, "output")
    torch.nn.init.normal_(contexts)
    torch.manual_seed(1)
    views = pipeline.draw(batch)
    table = pipeline.embed(views)
    value = pipeline.contrasts[0](table).value
    value.backward()
    centre, keys = views["input"].data, views["output"].data
    d_words, d_contexts, total = torch.zeros_like(words), torch.zeros_like(contexts), 0.0
    skipped = 0
    with torch.no_grad():
        for w, (positive, *noise) in zip(centre.tolist(), keys.tolist(), strict=True):
            # What word2vec.c does for a pair, with label 1 for the positive; noise that is the positive is skipped.
            for label, key in [(1, positive), *[(0, n) for n in noise if n != positive]]:
                score = words[w] @ contexts[key]
                total -= float(F.logsigmoid(score if label else -score))
                slope = torch.sigmoid(score) - label
                d_words[w] += slope * contexts[key]
                d_contexts[key] += slope * words[w]
            skipped += noise.count(positive)
    assert skipped > 0, "it does happen"
    assert value.item() == pytest.approx(total, rel=1e-12)
    for found, wanted in ((words.grad, d_words), (contexts.grad, d_contexts)):
        assert found is not None
        assert found.is_sparse
        torch.testing.assert_close(found.to_dense(), wanted, rtol=1e-10, atol=1e-14)


def test_a_batch_without_pairs_is_an_error() -> None:
    pipeline, _ = small(size=10)
    batch = crl.View(Tokens.of([[], [1]]), {"instance": torch.arange(2)})
    with pytest.raises(crl.CrlError, match="input-output"):
        pipeline.loss(batch)


def test_texts_of_frequent_words_alone_still_give_pairs() -> None:
    pipeline, _ = small(size=10)
    batch = crl.View(Tokens.of([[0, 0]]), {"instance": torch.arange(1)})
    for _ in range(50):  # subsampling would leave both in one of thousands
        assert len(pipeline.draw(batch)["input"]) == 2


def test_texts_are_the_mean_of_their_words_and_a_word_is_its_vector() -> None:
    pipeline, _ = small(size=10)
    words = weight(pipeline, "input")
    found = pipeline.encode(["list", "The list.", "zzzyx"])
    one, other = words[number_of(pipeline, "list")], words[number_of(pipeline, "the")]
    torch.testing.assert_close(found, torch.stack([one, (one + other) / 2, torch.zeros_like(one)]))
