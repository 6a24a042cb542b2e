from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from crl_core import CrlError, Lazy


class WindowScore(Lazy):
    """How likely a window of words is, by a convolution over its words: one number for the window as a whole.

    Collobert and Weston 2008: the hidden layer reads each stretch of `kernel` words, its maximum over the stretches is
    taken, and a linear layer makes a number of it. A window is put together of a query, its words around the centre,
    and of a key, the centre: both have the width of all `words`, with zeros where the other's are, as `Around` and
    `Centre` make them, and are added. Queries `[N, D]` and keys `[M, D]` to scores `[N, M]`; or keys per query
    `[N, K, D]` to `[N, K]`.

    >>> import torch
    >>> from crl_language.scores.window_score import WindowScore
    >>> score = WindowScore(words=3, kernel=2, hidden=8)
    >>> around = torch.tensor([[1.0, 2.0, 0.0, 0.0, 5.0, 6.0]])  # 3 words of 2 numbers, without the one in the middle
    >>> centre = torch.tensor([[0.0, 0.0, 3.0, 4.0, 0.0, 0.0], [0.0, 0.0, -1.0, 7.0, 0.0, 0.0]])
    >>> score(around, centre).shape
    torch.Size([1, 2])

    Args:
        words: of the window, its centre among them.
        kernel: words that the hidden layer reads at a time; with all `words` it is a perceptron on the whole window.
        hidden: units of the hidden layer.

    Raises:
        CrlError: the kernel is not from 1 to `words`, or the numbers of a row are no multiple of the words.
    """

    measures: ClassVar[str] = "similarity"

    def __init__(self, words: int = 11, kernel: int = 5, hidden: int = 100) -> None:
        super().__init__()
        if not 1 <= kernel <= words or hidden < 1:
            raise CrlError(f"kernel is from 1 to {words}, the words, and hidden 1 or more, not {kernel} and {hidden}")
        self.words, self.kernel, self.hidden = words, kernel, hidden

    def build(self, width: int) -> None:
        if width % self.words:
            raise CrlError(f"{width} numbers are not those of {self.words} words")
        # No biases: they move both windows of a comparison alike, the last one always.
        self.convolution = nn.Conv1d(width // self.words, self.hidden, self.kernel, bias=False)
        self.out = nn.Linear(self.hidden, 1, bias=False)

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        self.ensure_built(query)
        if query.dim() == 2:
            query, key = query.unsqueeze(1), key.unsqueeze(0)
        window = query + key
        words = window.flatten(0, 1).unflatten(1, (self.words, -1)).mT
        hidden = self.convolution(words).amax(2)
        values: Tensor = self.out(nn.functional.hardtanh(hidden)).squeeze(-1)
        return values.view(window.shape[:2])
