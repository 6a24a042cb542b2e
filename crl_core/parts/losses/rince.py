from __future__ import annotations

import math
from typing import ClassVar, Literal

from torch import Tensor, nn

from ...pairs import Scores


class RINCE(nn.Module):
    """InfoNCE that noisy positives hurt less: -exp(q s⁺) / q + (λ (exp s⁺ + Σ exp s⁻))^q / q.

    Chuang et al. 2022, equation 3. As q goes to 0 it becomes InfoNCE (up to log λ); at 1 it is a
    symmetric, robust loss.
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
