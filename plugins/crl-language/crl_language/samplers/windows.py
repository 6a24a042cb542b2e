from __future__ import annotations

from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor

from crl_core import CrlError, Items, Source, View, Views

from ..noise import Alias
from ..tokens import Tokens

_Form = Literal["pairs", "placed", "windows"]
_AT_ONCE = 4_096


class Windows:
    """Words with the words around them, and noise words (word2vec, Mikolov et al. 2013; vLBL, Mnih and others).

    Texts of words, as `Tokens`. Of frequent words some are dropped first. Each word that is left is a centre, with
    the words at most `window` places away. The views are `input`, what predicts, and `output` `[P, 1 + noise]`, the
    word that is predicted and then the noise:
        "pairs": a row is a centre with one word of its window; `input` is the centre `[P]`, `output` the other word;
        "placed": the same, but `input` is a mapping of `words` and `place` `[P]`, for weights by position;
        "windows": a row is a centre with its window; `input` is the window `[P, W]`, from the first place to the last,
            with -1 where there is no word, and `output` the centre. A centre without any other word is left out.
    A place is the number of the distance: with a window of 2, the distances -2, -1, 1, 2 are the places 0 to 3.

    The column `pair` is the row's number, and -1 for noise; `log_noise` is the log-probability of every word as noise;
    `valid` says which words are candidates. Rows have the columns of their text. For evaluation, `clean` gives the
    words of each text, `[N, L]`, with -1 behind its end.

    >>> import torch
    >>> import crl_core as crl
    >>> from crl_language.samplers.windows import Windows
    >>> from crl_language.tokens import Tokens
    >>> items = crl.InMemory(Tokens.of([[0, 1, 2, 0], [2, 1]]))
    >>> sampler = Windows(window=1, noise=5)
    >>> sampler.on_source(items, None)
    >>> views = sampler(items.__getitems__([0, 1]))
    >>> views["input"].data.tolist(), views["output"].data[:, 0].tolist()
    ([0, 1, 1, 2, 2, 0, 2, 1], [1, 0, 2, 1, 0, 2, 1, 2])

    Args:
        window: the maximum distance.
        form: of the rows, see above.
        noise: noise words for each row, drawn in proportion to their frequency to the power `power`.
        power: ¾ for word2vec, 1 for the frequency itself, 0 for all words alike.
        subsample: word2vec's t: of the words with the share f of all, (√(f/t) + 1) t/f are kept, at random, and all of
            those for which that is above 1. word2vec's is 1e-3; None keeps every word.
        reduced: the window of each centre is drawn from 1 to `window`, so that near words count more.
        before: only the words before the centre, as in a language model.
        skip_equal: noise that is the predicted word itself is no candidate, as in word2vec; NCE wants False.

    Raises:
        CrlError: a number is out of its range, the items are no texts of words, or the source has not been seen yet.
    """

    views: ClassVar[tuple[str, ...]] = ("input", "output")

    def __init__(
        self,
        window: int = 5,
        form: _Form = "pairs",
        noise: int = 5,
        power: float = 0.75,
        subsample: float | None = None,
        reduced: bool = True,
        before: bool = False,
        skip_equal: bool = True,
    ) -> None:
        if window < 1 or noise < 1 or power < 0 or not (subsample is None or subsample > 0):
            raise CrlError(
                f"window and noise are 1 or more, power 0 or more, and subsample is above 0, not {window}, {noise}, "
                f"{power} and {subsample}"
            )
        if form not in get_args(_Form):
            raise CrlError(f"form is one of {', '.join(get_args(_Form))}, not {form!r}")
        self.window, self.form, self.noise, self.power = window, form, noise, power
        self.subsample, self.reduced, self.before, self.skip_equal = subsample, reduced, before, skip_equal
        self._noise: Alias | None = None
        self._keep: Tensor | None = None  # the chance of each word to stay

    @property
    def shifts(self) -> list[int]:
        """The distances of the words of a window from their centre."""
        return [shift for shift in range(-self.window, 1 if self.before else self.window + 1) if shift]

    def on_source(self, items: Items, source: Source) -> None:
        """Counts the words of the training items."""
        words = getattr(source, "counts", {}).get("words", 0)
        frequency = torch.zeros(words, dtype=torch.int64)
        for first in range(0, len(items), _AT_ONCE):
            ids = _tokens(items.__getitems__(list(range(first, min(first + _AT_ONCE, len(items)))))).ids
            counted = torch.bincount(ids, minlength=len(frequency))
            frequency = counted + torch.nn.functional.pad(frequency, (0, len(counted) - len(frequency)))
        if not frequency.sum():
            raise CrlError("the training items have no words")
        self._noise = Alias(frequency.double() ** self.power)
        self._keep = None if self.subsample is None else _kept(frequency, self.subsample)

    def __call__(self, batch: View) -> Views:
        tokens = _tokens(batch)
        if self._noise is None:
            raise CrlError("Windows doesn't know its source yet: call pipeline.build(batch, source), or fit")
        self._noise = self._noise.to(tokens.ids.device)
        words, text = self._subsampled(tokens)
        around = self._around(words, text)
        if not bool((around >= 0).any()):  # few short texts: a step with something is worth more than the exact law
            words, text = tokens.ids, tokens.row
            around = self._around(words, text)
        centre, place = (around >= 0).nonzero(as_tuple=True)
        data: Any
        if self.form == "windows":
            rows = (around >= 0).any(1)
            data, target, centre = around[rows], words[rows], rows.nonzero().squeeze(1)
        else:
            data, target = words[centre], around[centre, place]
        columns = {name: column[text[centre]] for name, column in batch.meta.items()}
        pair = torch.arange(len(target), device=words.device)
        output = self._with_noise(target, columns, pair)
        if self.form == "placed":
            data = {"words": data, "place": place}
        there = {"valid": data >= 0} if self.form == "windows" else {}
        return {"input": View(data, {**columns, "pair": pair, **there}), "output": output}

    def clean(self, batch: View) -> View:
        ids, there = _tokens(batch).padded(-1)
        return View(ids, {**batch.meta, "valid": there})

    def _subsampled(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """The words `[T]` that are kept, and the numbers of their texts."""
        words, text = tokens.ids, tokens.row
        if self._keep is None:
            return words, text
        self._keep = self._keep.to(words.device)
        stays = torch.rand(len(words), device=words.device) < self._keep[words]
        return words[stays], text[stays]

    def _around(self, words: Tensor, text: Tensor) -> Tensor:
        """The words `[T, W]` around each word, and -1 where there is none in reach."""
        shift = torch.tensor(self.shifts, device=words.device)
        place = torch.arange(len(words), device=words.device).unsqueeze(1) + shift
        near = place.clamp(0, max(0, len(words) - 1))
        there = (place == near) & (text[near] == text.unsqueeze(1))
        if self.reduced:
            reach = torch.randint(1, self.window + 1, (len(words), 1), device=words.device)
            there &= shift.abs() <= reach
        return torch.where(there, words[near], -1)

    def _with_noise(self, target: Tensor, columns: dict[str, Tensor], pair: Tensor) -> View:
        assert self._noise is not None
        target, pair = target.unsqueeze(1), pair.unsqueeze(1)
        noise = self._noise.draw(len(target), self.noise)
        data = torch.cat([target, noise], 1)
        meta = {"pair": torch.cat([pair, torch.full_like(noise, -1)], 1), "log_noise": self._noise.log_p[data]}
        if self.skip_equal:
            meta["valid"] = torch.cat([torch.ones_like(pair, dtype=torch.bool), noise != target], 1)
        return View(data, {**columns, **meta})


def _kept(frequency: Tensor, t: float) -> Tensor:
    """The chance of each word to stay, `[V]`."""
    ratio = (frequency.double() / frequency.sum() / t).clamp(min=1e-12)
    return ((ratio.sqrt() + 1) / ratio).clamp(max=1).float()


def _tokens(batch: View) -> Tokens:
    if not isinstance(batch.data, Tokens):
        raise CrlError(f"Windows takes texts of words, Tokens, not a {type(batch.data).__name__}; is the reader Words?")
    return batch.data
