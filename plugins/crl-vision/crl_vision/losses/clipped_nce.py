from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crl_core import Scores, Summed

_NONE = 1e-37  # below any sum of exp(-2c), and yet a number in float32


class ClippedNCE(nn.Module):
    """InfoNCE of scores that are softly clipped to ±c, c·tanh(s / c), with a penalty on large scores: + λ E[s²].

    Bachman et al. 2019 (AMDIM), section 3.2 and the authors' code: each positive alone against the negatives, the
    mean over all of them. The penalty is on the scores before clipping, of positives and negatives alike. Scores of N
    queries.

    >>> import torch
    >>> import crl_core as crl
    >>> from crl_vision.losses.clipped_nce import ClippedNCE
    >>> values, positive = torch.tensor([[2.0, 0.0, 1.0]]), torch.tensor([[True, False, False]])
    >>> scores = crl.Scores.of(values, positive)
    >>> value, terms = ClippedNCE(clip=40.0, penalty=0.0)(scores)  # hardly clipped, not penalised
    >>> torch.allclose(value, crl.InfoNCE()(scores), atol=0.01)
    True

    Args:
        clip: c, up to 40.
        penalty: λ.

    Raises:
        ValueError: a number is out of its range.
    """

    takes: ClassVar[Literal["scores"]] = "scores"

    def __init__(self, clip: float = 10.0, penalty: float = 0.05) -> None:
        super().__init__()
        if not 0 < clip <= 40 or not penalty >= 0:
            raise ValueError(f"clip is above 0 up to 40, and penalty from 0 up, not {clip!r} and {penalty!r}")
        self.clip, self.penalty = clip, penalty

    def forward(self, scores: Scores) -> Summed:
        positive, negative = scores.positive, scores.negative
        # No clipped score is above c, so this sum neither overflows nor vanishes.
        log_negatives = self.clip + negative.sum(lambda s: (self._clipped(s) - self.clip).exp()).clamp(min=_NONE).log()
        alone = positive.sum(lambda s, n: F.softplus(n - self._clipped(s)), log_negatives)
        square = (positive.sum(torch.square) + negative.sum(torch.square)) / (positive.count() + negative.count())
        return Summed(alone + self.penalty * square * positive.count(), positive.count())

    def _clipped(self, score: Tensor) -> Tensor:
        return self.clip * (score / self.clip).tanh()
