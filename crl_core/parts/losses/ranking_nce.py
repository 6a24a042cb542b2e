from __future__ import annotations

from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import CrlError
from ...pairs import Scores


class RankingNCE(nn.Module):
    """Which of the keys is the data? A softmax over s - log q, for keys drawn with probability q.

    Jozefowicz et al. 2016; Ma and Collins 2018 (Le-Khac et al. 2020, equation 10). With uniform noise it is InfoNCE.
    """

    takes: ClassVar[Literal["scores"]] = "scores"

    def forward(self, scores: Scores) -> Tensor:
        if scores.log_noise is None:
            raise CrlError("RankingNCE has to know with what probability keys were drawn: contrast with `draw`")
        corrected = scores.minus(scores.log_noise)
        return F.softplus(corrected.negative.logsumexp() - corrected.positive.logsumexp())
