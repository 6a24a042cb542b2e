from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...contracts.parts import Memory
from ...data.pairs import Pairs, per_query
from ...data.view import Embeddings
from ...errors import CrlError

_By = Literal["chance", "distance"]


class Drawn(nn.Module):
    """Draws candidates per query from the batch: one of its positives and `count` of its negatives, with replacement.

    For NCE and negative sampling (Le-Khac et al. 2020, section III-E). Other choices are not affected:
    `keys=[Drawn(16), Queue(4096)]` draws from the batch, and takes the whole queue. Positives are drawn
    by their weights. A query without a positive gets none, and a query without a negative gets no negatives.

    >>> import torch
    >>> import crl_core as crl
    >>> rows = crl.Embeddings(torch.randn(6, 4), {"label": torch.tensor([0, 0, 1, 1, 2, 2])})
    >>> pairs = crl.Pairs(rows, (rows,), crl.same("label"), ~crl.same("label"))
    >>> chosen = crl.Drawn(3).choose(pairs)
    >>> chosen.key.shape, chosen.log_noise.exp()[0]  # each of 4 negatives is drawn with probability 1/4
    (torch.Size([6, 4, 4]), tensor([0.2500, 0.2500, 0.2500, 0.2500]))

    Args:
        count: negatives per query.
        by: "chance" draws all negatives with the same probability; "distance" draws all distances with the same
            probability, so that the few near negatives are drawn too (Wu et al. 2017, equation 3).
        of: a memory whose keys are drawn along with the batch's.

    Raises:
        ValueError: the count is below 1, or `by` is another word.
        CrlError: some keys are shared and others were made per query.
    """

    def __init__(self, count: int, by: _By = "chance", of: Memory | None = None) -> None:
        super().__init__()
        if count < 1 or by not in get_args(_By):
            raise ValueError(f'count is 1 or more, by "chance" or "distance", not {count} by {by!r}')
        self.count, self.by, self.of = count, by, of

    def choose(self, pairs: Pairs) -> Pairs:
        """The drawn ones of these candidates, keys per query `[N, 1 + count, D]`, the positive first."""
        if pairs.mixed:
            raise CrlError("keys are drawn from shared keys, or from those of each query, not from both at once")
        chosen, noise = [], []
        for rows in pairs.strips():
            positive, negative = pairs.masks(rows)
            weights = negative.float() if self.by == "chance" else negative * _by_distance(pairs, rows)
            index, probability = _draw(weights, self.count)
            soft = pairs.weights(positive, rows)
            first, _ = _draw(positive.float() if soft is None else soft, 1)
            chosen.append(torch.cat([first, index], dim=1))
            # What log-probability the positive would have had as noise, no draw says: that of a uniform one.
            alike = negative.sum(1, keepdim=True).clamp(min=1).reciprocal()
            noise.append(torch.cat([alike, probability], dim=1).log())
        return _with_keys(pairs, torch.cat(chosen), torch.cat(noise))


def _with_keys(pairs: Pairs, chosen: Tensor, noise: Tensor) -> Pairs:
    """These keys `[N, K]` of every query as its candidates."""
    if pairs.per_query:
        own = torch.arange(len(chosen), device=chosen.device).unsqueeze(1)
        columns = {name: column[own, chosen] for name, column in pairs.key_meta.items()}
        key, query = Embeddings(pairs.key[own, chosen], columns), pairs.query
    else:
        columns = {name: column[chosen] for name, column in pairs.key_meta.items()}
        key, query = Embeddings(pairs.key[chosen], columns), per_query(pairs.query)
    return Pairs(query, (key,), pairs.positive, pairs.negative, noise)


@torch.no_grad()
def _by_distance(pairs: Pairs, rows: slice) -> Tensor:
    """1 / how many points of the sphere are as far away, `[n, M]`; 0 beyond 1.4, where losses are 0 anyway."""
    width = pairs.key.shape[-1]
    query, key = F.normalize(pairs.query.z[rows], dim=-1), F.normalize(pairs.key, dim=-1)
    cosine = (query * key[rows]).sum(-1) if pairs.per_query else query @ key.T
    square = (2 - 2 * cosine).clamp(min=0.25)  # nearer ones would be all that is drawn
    density = (width - 2) / 2 * square.log() + (width - 3) / 2 * (1 - square.clamp(max=3.9) / 4).log()
    weights = (density.amin(1, keepdim=True) - density).exp()
    return weights.masked_fill(square > 1.4**2, 0.0)


def _draw(weights: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """`[n, count]` indices by these weights `[n, M]`, anywhere in a row without any, and their probabilities."""
    weights = torch.where(weights.sum(1, keepdim=True) > 0, weights, 1.0)
    index = torch.multinomial(weights, count, replacement=True)
    return index, weights.gather(1, index) / weights.sum(1, keepdim=True)
