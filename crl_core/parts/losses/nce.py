from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ... import distributed
from ...contracts.parts import Progress
from ...data.pairs import Scores
from ...errors import CrlError
from .negative_sampling import logistic


class NCE(nn.Module):
    """Data or noise? A logistic regression on s - log(K q), with K noise keys drawn with probability q.

    Gutmann and Hyvärinen 2010; Mnih and Teh 2012 (Le-Khac et al. 2020, equations 7 and 8). For keys that
    were drawn: by `Drawn`, or by a sampler that gives the column `log_noise`. One value per query, `[N]`.

    >>> import torch
    >>> import crl_core as crl
    >>> values, positive = torch.zeros(1, 2), torch.tensor([[True, False]])
    >>> plain = crl.Scores.of(values, positive)
    >>> scores = crl.Scores(plain.positive, plain.negative, log_noise=torch.zeros(1, 2))  # drawn with probability 1
    >>> crl.NCE()(scores)  # log(1 + exp 0), once for the data and once for one noise key
    tensor([1.3863])

    Args:
        normaliser: "one" takes exp s as normalised already (Mnih and Teh); "first-batch" divides
            it by a constant Z, estimated once from the noise keys of the first batch of the first step (Wu et al. 2018;
            CMC).

    Raises:
        CrlError: the keys were not drawn, so that `log_noise` is missing.
    """

    takes: ClassVar[Literal["scores"]] = "scores"
    log_z: Tensor

    def __init__(self, normaliser: Literal["one", "first-batch"] = "one") -> None:
        super().__init__()
        self.normaliser = normaliser
        self._pending: Tensor | None = None
        self.register_buffer("log_z", torch.tensor(0.0 if normaliser == "one" else math.nan))

    def forward(self, scores: Scores) -> Tensor:
        if scores.log_noise is None:
            raise CrlError("NCE has to know with what probability keys were drawn: keys=Drawn(…), or use NEG")
        noise = scores.negative.count()
        log_z = self.log_z
        if self.normaliser == "first-batch" and bool(log_z.isnan()):
            log_z = self._estimate(scores).detach().to(log_z.dtype) if self._pending is None else self._pending
            if self.training and not bool(log_z.isnan()):
                self._pending = log_z
        # Without any noise yet there is no estimate.
        corrected = scores.minus(scores.log_noise + noise.log().unsqueeze(-1) + log_z.nan_to_num())
        return logistic(corrected)

    def on_step(self, progress: Progress) -> None:
        if self._pending is not None:
            self.log_z.copy_(self._pending)
        self.abandon()

    def abandon(self) -> None:
        self._pending = None

    def _load_from_state_dict(self, *args: Any) -> None:
        self.abandon()  # what waits belongs to what was there before
        super()._load_from_state_dict(*args)

    @staticmethod
    def _estimate(scores: Scores) -> Tensor:
        """log of the sum of exp s over everything that could be drawn: the mean of exp(s) / q over all noise."""
        assert scores.log_noise is not None
        negative = scores.minus(scores.log_noise).negative
        total = distributed.logsumexp(negative.logsumexp().logsumexp(0))
        return total - distributed.total(negative.count().sum()).log()
