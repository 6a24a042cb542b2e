from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crl_core import Scores, Summed

_NONE = 1e-37  # below any sum of exp(-2c), and yet a number in float32


class ClippedNCE(nn.Module):
    """InfoNCE of scores that are softly kept within ±c, c·tanh(s / c), and cost what they are large: + λ E[s²].

    Bachman et al. 2019 (AMDIM), section 3.2 and the authors' code: every positive alone against the negatives, the
    mean over all of them; the square is that of the scores before, of positives and negatives alike.

    Args:
        clip: c.
        penalty: λ.
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
