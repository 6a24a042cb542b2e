from __future__ import annotations

from typing import ClassVar

from torch import nn


class PerQuery(nn.Module):
    """Says that the key branch's rows `[N, K, D]` were made per query: those that its sampler drew (word2vec's noise).

    Without it, rows of local features are keys of all queries. A column `log_noise` `[N, K]` of the keys is the
    log-probability with which each was drawn.

    >>> import crl_core as crl
    >>> contrast = crl.Contrast("centre", "context", keys=crl.PerQuery(), loss="negative-sampling")
    >>> contrast.keys[0].per_query
    True
    """

    per_query: ClassVar[bool] = True
