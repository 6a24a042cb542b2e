"""Windows of words, and noise: the laws of word2vec, exactly."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from crl_language.noise import Alias
from crl_language.samplers.windows import Windows
from crl_language.tokens import Tokens
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import crl_core as crl


class Counted:
    """A source of texts of words that says how many words there are."""

    splits = ("train",)

    def __init__(self, texts: list[list[int]]) -> None:
        self.texts = texts
        self.counts = {"words": 1 + max(word for text in texts for word in text)}

    def items(self, split: str) -> crl.InMemory:
        return crl.InMemory(Tokens.of(self.texts), {"label": torch.arange(len(self.texts)) * 10})


def drawn(texts: list[list[int]], **options: Any) -> crl.Views:
    source, sampler = Counted(texts), Windows(**options)
    items = source.items("train")
    sampler.on_source(items, source)
    return sampler(items.__getitems__(list(range(len(items)))))


def share_of(weight: Tensor) -> Tensor:
    return weight.double() / weight.double().sum()


def near(found: float, chance: float, draws: int) -> bool:
    """Whether a share is within five standard deviations of its probability."""
    return abs(found - chance) < 5 * math.sqrt(chance * (1 - chance) / draws) + 1e-12


# -- what is a row -----------------------------------------------------------------------------------


def test_pairs_are_all_words_of_a_text_that_are_within_the_window() -> None:
    texts = [[0, 1, 2, 3], [4], [], [5, 6]]
    views = drawn(texts, window=2, reduced=False, noise=3)
    pairs = set(zip(views["input"].data.tolist(), views["output"].data[:, 0].tolist(), strict=True))
    wanted = {(0, 1), (0, 2), (1, 0), (1, 2), (1, 3), (2, 0), (2, 1), (2, 3), (3, 1), (3, 2), (5, 6), (6, 5)}
    assert len(views["input"]) == len(wanted)
    assert pairs == wanted, "no pair crosses from one text into the next"
    assert views["input"].meta["label"].tolist() == [0] * 10 + [30] * 2, "rows have the columns of their text"
    assert views["output"].data.shape == (12, 4)
    pair = views["output"].meta["pair"]
    assert pair[:, 0].tolist() == list(range(12))
    assert bool((pair[:, 1:] == -1).all())


def test_windows_have_a_place_for_every_distance() -> None:
    views = drawn([[7, 8, 9], [3], [1, 2]], window=2, form="windows", reduced=False)
    assert views["input"].data.tolist() == [
        [-1, -1, 8, 9], [-1, 7, 9, -1], [7, 8, -1, -1], [-1, -1, 2, -1], [-1, 1, -1, -1],
    ]  # fmt: skip
    assert views["output"].data[:, 0].tolist() == [7, 8, 9, 1, 2], "3 is alone in its text"
    assert torch.equal(views["input"].meta["valid"], views["input"].data >= 0)


def test_a_language_model_sees_only_words_before() -> None:
    views = drawn([[7, 8, 9]], window=2, form="windows", reduced=False, before=True)
    assert views["input"].data.tolist() == [[-1, 7], [7, 8]]
    assert views["output"].data[:, 0].tolist() == [8, 9]


def test_placed_pairs_know_their_distance() -> None:
    views = drawn([[0, 1, 2]], window=2, form="placed", reduced=False)
    data = views["input"].data
    shift = views["output"].data[:, 0] - data["words"]  # words stand in the order of their numbers
    assert shift.tolist() == [[-2, -1, 1, 2][place] for place in data["place"].tolist()]


def test_clean_views_are_the_texts() -> None:
    batch = Counted([[1, 2], [0]]).items("train").__getitems__([0, 1])
    view = Windows().clean(batch)
    assert view.data.tolist() == [[1, 2], [0, -1]]
    assert view.meta["valid"].tolist() == [[True, True], [True, False]]


def test_texts_without_words_give_no_rows() -> None:
    for form in ("pairs", "placed", "windows"):
        assert len(drawn([[], [1], []], form=form)["output"]) == 0


# -- laws ----------------------------------------------------------------------------------------------


def test_frequent_words_are_kept_with_word2vecs_chance() -> None:
    frequent, copies, t = 0, 6_000, 1e-2
    texts = [[frequent, 1 + number % 300] for number in range(copies)]
    share = 0.5  # of all words
    chance = (math.sqrt(share / t) + 1) * t / share
    assert 0.1 < chance < 0.2
    # The other words are rarer than t, and always stay: a pair is there where the frequent word is.
    assert t > 1 / 600
    there = len(drawn(texts, subsample=t)["input"]) / 2
    assert near(there / copies, chance, copies)


def test_what_is_dropped_lets_words_come_nearer() -> None:
    texts = [[1 + number % 300, 0, 1 + number % 299] for number in range(3_000)]
    views = drawn(texts, window=1, subsample=1e-2)
    met = (views["input"].data > 0) & (views["output"].data[:, 0] > 0)
    assert bool(met.any()), "with the word between them dropped, the outer two are at distance 1"


def test_near_words_count_more_by_the_reduced_window() -> None:
    window, copies = 4, 5_000
    views = drawn([list(range(9))] * copies, window=window)
    distance = views["output"].data[:, 0] - views["input"].data
    centre = views["input"].data == 4  # has all eight others in reach
    for shift in (-4, -3, -2, -1, 1, 2, 3, 4):
        found = int((distance[centre] == shift).sum()) / copies
        assert near(found, (window - abs(shift) + 1) / window, copies)


@pytest.mark.parametrize("power", [0.0, 0.75, 1.0])
def test_noise_is_drawn_by_a_power_of_the_frequency(power: float) -> None:
    count = torch.tensor([500, 100, 50, 10, 1])
    texts = [[word] * int(times) for word, times in enumerate(count)]
    views = drawn(texts, noise=50, power=power)
    noise, law = views["output"].data[:, 1:].flatten(), share_of(count.double() ** power)
    for word, chance in enumerate(law.tolist()):
        assert near(float((noise == word).double().mean()), chance, len(noise))
    stated = views["output"].meta["log_noise"].exp()
    torch.testing.assert_close(stated, law.float()[views["output"].data])


def test_noise_that_is_the_word_itself_is_no_candidate_unless_nce_asks() -> None:
    texts = [[0, 1, 0, 1, 2]] * 20
    views = drawn(texts)
    words = views["output"].data
    assert torch.equal(views["output"].meta["valid"][:, 1:], words[:, 1:] != words[:, :1])
    assert bool(views["output"].meta["valid"][:, 0].all())
    assert not bool(views["output"].meta["valid"].all())
    assert "valid" not in drawn(texts, skip_equal=False)["output"].meta


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50).filter(lambda weights: sum(weights) > 1e-3))
@settings(deadline=None)
def test_alias_tables_hold_exactly_the_law(weights: list[float]) -> None:
    alias = Alias(torch.tensor(weights, dtype=torch.float64))
    found = alias.stays.clone().index_add_(0, alias.other, 1 - alias.stays) / len(weights)
    torch.testing.assert_close(found, share_of(torch.tensor(weights, dtype=torch.float64)), rtol=1e-9, atol=1e-12)


# -- errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"window": 0}, {"noise": 0}, {"power": -1.0}, {"subsample": 0.0}])
def test_numbers_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(crl.CrlError, match=next(iter(options))):
        Windows(**options)


def test_other_forms_and_other_data_are_refused() -> None:
    with pytest.raises(crl.CrlError, match="windows, not 'bags'"):
        Windows(form="bags")  # type: ignore[arg-type]
    view = crl.View(torch.zeros(2, 3), {"instance": torch.arange(2)})
    with pytest.raises(crl.CrlError, match=r"Tokens.*Tensor"):
        Windows()(view)
    with pytest.raises(crl.CrlError, match="build"):
        Windows()(crl.View(Tokens.of([[1, 2]]), {"instance": torch.arange(1)}))
