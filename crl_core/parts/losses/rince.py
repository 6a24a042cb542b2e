from __future__ import annotations

import math
from typing import ClassVar, Literal

from torch import Tensor, nn

from ...data.pairs import Scores


class RINCE(nn.Module):
    """InfoNCE that is robust to noisy positives: -exp(q s⁺) / q + (λ (exp s⁺ + Σ exp s⁻))^q / q.

    Chuang et al. 2022, equation 3. As q goes to 0 it becomes InfoNCE (up to log λ); at 1 it is a
    symmetric, robust loss. Scores of N queries; one value per query, `[N]`.

    >>> import torch
    >>> import crl_core as crl
    >>> values, positive = torch.tensor([[1.0, 0.0]]), torch.tensor([[True, False]])
    >>> scores = crl.Scores.of(values, positive)
    >>> crl.RINCE(q=1e-3, density=1.0)(scores), crl.InfoNCE()(scores)
    (tensor([0.3136]), tensor([0.3133]))

    Args:
        q: from above 0 to 1, how robust.
        density: λ, the weight of the denominator.
    """

    takes: ClassVar[Literal["scores"]] = "scores"

    def __init__(self, q: float = 0.5, density: float = 0.01) -> None:
        super().__init__()
        if not 0 < q <= 1 or not density > 0:
            raise ValueError(f"q is above 0, up to 1, and the density λ above 0; not {q} and {density}")
        self.q, self.density = q, density

    def forward(self, scores: Scores) -> Tensor:
        positive = scores.positive.logsumexp()
        everything = positive.logaddexp(scores.negative.logsumexp()) + math.log(self.density)
        # The difference of two powers, by what their logarithms differ.
        return (self.q * positive).exp() * ((self.q * (everything - positive)).expm1()) / self.q
