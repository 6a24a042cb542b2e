"""Models of words in their windows: their formulas by hand, and what they learn."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from crl_language.readers.words import Words
from crl_language.recipes.cbow import cbow
from crl_language.recipes.collobert_weston import collobert_weston
from crl_language.recipes.ivlbl import ivlbl
from crl_language.recipes.nce_language_model import nce_language_model
from crl_language.recipes.vlbl import vlbl
from crl_language.sources.docstrings import Docstrings
from torch import Tensor

import crl_core as crl


def built(recipe: Any, seed: int = 0, **settings: Any) -> tuple[crl.Pipeline, crl.Views]:
    """A pipeline in float64 whose weights are all at random, and the views of a few texts."""
    torch.manual_seed(seed)
    made = crl.recipe(recipe, size=6, **settings)
    batch = made.source.items("train").__getitems__(list(range(20)))
    pipeline = made.pipeline.build(batch, made.source).double()
    for parameter in pipeline.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return pipeline, pipeline.draw(batch)


def weights(pipeline: crl.Pipeline, name: str) -> Tensor:
    found: Tensor = pipeline.get_parameter(name).detach()
    return found


def value_of(pipeline: crl.Pipeline, views: crl.Views) -> Tensor:
    found: Tensor = pipeline.contrasts[0](pipeline.embed(views)).value
    return found


# -- formulas --------------------------------------------------------------------------------------------


def test_cbow_is_the_mean_of_the_words_that_are_there_and_gives_each_the_whole_gradient() -> None:
    pipeline, views = built(cbow)
    words, outputs = (
        weights(pipeline, "branches.input.encoder.weight"),
        weights(pipeline, "branches.output.encoder.weight"),
    )
    value = value_of(pipeline, views)
    value.backward()
    total, slopes = 0.0, torch.zeros_like(words)
    rows = list(zip(views["input"].data.tolist(), views["output"].data.tolist(), strict=True))
    for window, (centre, *noise) in rows:
        there = [word for word in window if word >= 0]
        mean, slope = words[there].mean(0), torch.zeros(6, dtype=torch.float64)
        for label, key in [(1, centre), *[(0, word) for word in noise if word != centre]]:
            score = mean @ outputs[key]
            total -= float(F.logsigmoid(score if label else -score))
            slope += (torch.sigmoid(score) - label) * outputs[key]
        for word in there:
            slopes[word] += slope
    assert any(-1 in window for window, _ in rows), "some windows are cut by the text's ends"
    assert value.item() == pytest.approx(total, rel=1e-12)
    gradient = pipeline.get_parameter("branches.input.encoder.weight").grad
    assert gradient is not None
    torch.testing.assert_close(gradient.to_dense(), slopes, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("recipe", [nce_language_model, vlbl, ivlbl])
def test_log_bilinear_models_are_nce_with_weights_by_place(recipe: Any) -> None:
    pipeline, views = built(recipe, noise=3)
    inputs, outputs = (
        weights(pipeline, "branches.input.encoder.weight"),
        weights(pipeline, "branches.output.encoder.weight"),
    )
    places, reader = weights(pipeline, "branches.input.head.weight"), pipeline.reader
    assert isinstance(reader, Words)
    share = torch.tensor(reader.frequency, dtype=torch.float64)
    share = share / share.sum()
    data, keys = views["input"].data, views["output"].data
    total = 0.0
    for row in range(len(keys)):
        if recipe is ivlbl:
            query = places[data["place"][row]] * inputs[data["words"][row]]
        else:
            window = data[row].tolist()
            query = sum(places[place] * inputs[word] for place, word in enumerate(window) if word >= 0)
        for i, key in enumerate(keys[row].tolist()):
            score = query @ outputs[key, :-1] + outputs[key, -1] - torch.log(3 * share[key])
            total -= float(F.logsigmoid(score if i == 0 else -score))
    assert value_of(pipeline, views).item() == pytest.approx(total / len(keys), rel=1e-6), "noise is in float32"


def test_collobert_weston_compares_windows_put_together_word_by_word() -> None:
    pipeline, views = built(collobert_weston, window=2, hidden=7)
    words, score = weights(pipeline, "branches.around.encoder.weight"), pipeline.contrasts[0].score

    def f(window: list[int], centre: int) -> Tensor:
        vectors = [words[word] if word >= 0 else torch.zeros(6).double() for word in [*window[:2], centre, *window[2:]]]
        convolution, out = score.convolution, score.out  # type: ignore[attr-defined]
        hidden = convolution(torch.stack(vectors).T).amax(1)
        return out(F.hardtanh(hidden))

    rows = list(zip(views["input"].data.tolist(), views["output"].data.tolist(), strict=True))
    # A window whose noise is its own centre has nothing to be compared with, and counts 0.
    with torch.no_grad():
        losses = [
            max(0.0, 1 - float(f(window, true)) + float(f(window, other))) if other != true else 0.0
            for window, (true, other) in rows
        ]
    assert value_of(pipeline, views).item() == pytest.approx(sum(losses) / len(rows), rel=1e-12)


# -- NCE and the exact softmax ----------------------------------------------------------------------------


class FewWords:
    """Python's documentation in the 200 words that are the most frequent."""

    splits = ("train",)

    def items(self, split: str) -> crl.InMemory:
        items, words = Docstrings().items("train"), Words(most=200)
        words.on_source(items, None)  # type: ignore[arg-type]
        known = set(words.words)
        kept = [" ".join(word for word in words.split(text) if word in known) for text in items.data]
        return crl.InMemory([text for text in kept if text.count(" ") >= 2])


def trained(noise: int | None) -> tuple[float, float]:
    """Perplexity and mean log Z of a model of one previous word; without noise, by the exact softmax."""
    torch.manual_seed(0)
    source = FewWords()
    made = crl.recipe(nce_language_model, source=source, size=20, window=1, noise=noise or 1)
    items = source.items("train")
    whole = items.__getitems__(list(range(len(items))))
    pipeline = made.pipeline.build(whole, source)
    read = pipeline.read(whole)
    optimiser = torch.optim.Adagrad(pipeline.parameters(), lr=0.3)

    def exact(views: crl.Views) -> tuple[Tensor, Tensor]:
        query = pipeline.embed({"input": views["input"]}, "input")["input"].z
        scores = query @ pipeline.get_parameter("branches.output.encoder.weight").T
        return F.cross_entropy(scores, views["output"].data[:, 0]), scores.logsumexp(1).mean()

    for _ in range(8):
        for index in torch.randperm(len(read)).split(128):
            batch = read.take(index)
            loss = exact(pipeline.draw(batch))[0] if noise is None else pipeline.loss(batch).total
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            pipeline.on_step()
    with torch.no_grad():
        entropy, log_z = exact(pipeline.draw(read))
    return math.exp(entropy), float(log_z)


@pytest.mark.recipes  # some minutes
def test_nce_comes_near_the_exact_softmax_as_noise_grows() -> None:
    exact, _ = trained(None)
    found = {noise: trained(noise) for noise in (1, 5, 25)}
    perplexity = [found[noise][0] for noise in (1, 5, 25)]
    assert perplexity[0] > perplexity[1] > perplexity[2]
    assert perplexity[2] < 1.03 * exact
    assert abs(found[25][1]) < 0.1, "normalised, without ever being told to be"
