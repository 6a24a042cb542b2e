"""Data with a structure that is known, and hidden from linear maps; and how much of it a representation shows."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from crl_core import Pipeline, View


def codes(symbols: int, size: int, seed: int = 0) -> Tensor:
    """`[symbols, size]` of ±1: a code word for each symbol."""
    return torch.randn(symbols, size, generator=torch.Generator().manual_seed(seed)).sign()


def coded(symbol: Tensor, words: Tensor, flips: float = 0.05) -> Tensor:
    """`[…, 2 · size]`: random signs, and the same signs times the symbol's code word.

    Each half alone is noise, and so is every linear map of both: only products show the symbol.
    """
    signs = torch.randn(*symbol.shape, words.shape[1]).sign()
    flipped = torch.where(torch.rand_like(signs) < flips, -1.0, 1.0)
    return torch.cat([signs, signs * words[symbol] * flipped], dim=-1)


def wheel(count: int, length: int, states: int, slip: float = 0.05) -> Tensor:
    """`[count, length]`: states that go round one after the other, and now and then jump."""
    slips = torch.randint(0, states, (count, length)) * (torch.rand(count, length) < slip)
    start = torch.randint(0, states, (count, 1))
    return (start + torch.arange(length) + slips.cumsum(1)) % states


def linear(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> float:
    """How many of the test rows' symbols a linear classifier reads off `(rows, symbols)`."""
    probe = LogisticRegression(max_iter=300).fit(train[0].numpy(), train[1].numpy())
    return float(probe.score(test[0].numpy(), test[1].numpy()))


def slices(batch: View, size: int) -> Iterator[View]:
    """Endless random batches of a view's rows."""
    while True:
        rows = torch.randperm(len(batch))[:size]
        yield View(batch.data[rows], {name: column[rows] for name, column in batch.meta.items()})


def train(
    pipeline: Pipeline,
    batches: Iterator[View],
    steps: int,
    rate: float = 3e-3,
) -> list[float]:
    """A plain loop with AdamW; the losses."""
    pipeline.build(next(batches)).train()
    optimiser = torch.optim.AdamW([p for p in pipeline.parameters() if p.requires_grad], rate)
    found = []
    for _ in range(steps):
        losses = pipeline.loss(next(batches))
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        pipeline.on_step()
        found.append(float(losses.total.detach()))
    return found
