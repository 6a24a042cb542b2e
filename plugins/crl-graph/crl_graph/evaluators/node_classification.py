from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from crl_core import CrlError, Embeddings


class NodeClassification:
    """The share of test nodes that logistic regressions on the frozen rows get right: mean and standard deviation.

    The protocol of DGI (Veličković et al. 2019) and MVGRL: the rows are not scaled; `runs` regressions with different
    initialisations, each trained by `steps` steps of Adam without weight decay, all in parallel.

    >>> import torch
    >>> import crl_core as crl
    >>> from crl_graph.evaluators.node_classification import NodeClassification
    >>> label = torch.arange(20) % 2
    >>> table = crl.Embeddings(torch.eye(2)[label], {"label": label})
    >>> NodeClassification(runs=2)(table, table, None)
    {'accuracy': 1.0, 'accuracy_deviation': 0.0}

    Args:
        runs: how many regressions.
        steps, learning_rate: of the training of each.
        seed: of their initialisations.

    Raises:
        CrlError: `runs` or `steps` is below 1.
    """

    needs: ClassVar[tuple[str, ...]] = ("label",)

    def __init__(self, runs: int = 50, steps: int = 100, learning_rate: float = 0.01, seed: int = 0) -> None:
        if runs < 1 or steps < 1:
            raise CrlError(f"runs and steps are 1 or more, not {runs} and {steps}")
        self.runs, self.steps, self.learning_rate, self.seed = runs, steps, learning_rate, seed

    @torch.enable_grad()
    def __call__(self, train: Embeddings, test: Embeddings, views: tuple[Tensor, Tensor] | None) -> dict[str, float]:
        x, label = train.z.detach().float(), train.meta["label"]
        classes = int(torch.cat([label, test.meta["label"]]).max()) + 1
        weight, bias = self._start(x, classes)
        optimiser = torch.optim.Adam([weight, bias], lr=self.learning_rate)
        for _ in range(self.steps):
            loss = F.cross_entropy(_logits(x, weight, bias).transpose(1, 2), label.expand(self.runs, -1))
            optimiser.zero_grad()
            # Each regression has a mean of its own.
            (loss * self.runs).backward()
            optimiser.step()
        with torch.no_grad():
            said = _logits(test.z.float(), weight, bias).argmax(-1)
        right = (said == test.meta["label"]).float().mean(1)
        return {"accuracy": float(right.mean()), "accuracy_deviation": float(right.std(correction=0))}

    def _start(self, x: Tensor, classes: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(self.seed)
        bound = (6 / (x.shape[1] + classes)) ** 0.5  # Glorot and Bengio 2010
        start = (2 * torch.rand(self.runs, x.shape[1], classes, generator=generator) - 1) * bound
        weight = start.to(x.device).requires_grad_()
        return weight, x.new_zeros(self.runs, 1, classes).requires_grad_()


def _logits(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`[N, d]` by `[runs, d, C]` to `[runs, N, C]`."""
    return torch.einsum("nd,rdc->rnc", x, weight) + bias
