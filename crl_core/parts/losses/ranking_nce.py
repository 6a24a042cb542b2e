from __future__ import annotations

from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from ...data.pairs import Scores
from ...errors import CrlError


class RankingNCE(nn.Module):
    """Which of the keys is the data? A softmax over s - log q, for keys drawn with probability q.

    Jozefowicz et al. 2016; Ma and Collins 2018 (Le-Khac et al. 2020, equation 10). With uniform noise it is InfoNCE.
    For keys that were drawn: by `Drawn`, or by a sampler that gives the column `log_noise`. One value per query, `[N]`.

    >>> import torch
    >>> import crl_core as crl
    >>> values, positive = torch.tensor([[2.0, 0.0, 1.0]]), torch.tensor([[True, False, False]])
    >>> plain = crl.Scores.of(values, positive)
    >>> scores = crl.Scores(plain.positive, plain.negative, log_noise=torch.full((1, 3), 0.1).log())
    >>> torch.allclose(crl.RankingNCE()(scores), crl.InfoNCE()(plain))
    True

    Raises:
        CrlError: the keys were not drawn, so that `log_noise` is missing.
    """

    takes: ClassVar[Literal["scores"]] = "scores"

    def forward(self, scores: Scores) -> Tensor:
        if scores.log_noise is None:
            raise CrlError("RankingNCE has to know with what probability keys were drawn: keys=Drawn(…)")
        corrected = scores.minus(scores.log_noise)
        return F.softplus(corrected.negative.logsumexp() - corrected.positive.logsumexp())
