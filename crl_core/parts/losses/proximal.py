from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn

from ...contracts.parts import Loss
from ...data.pairs import Scores
from ...errors import CrlError


class Proximal(nn.Module):
    """Another loss, plus λ ‖q - k⁺‖² of the directions: keeps a query near its earlier embedding.

    Wu et al. 2018, equation 10. The positive is the query's own earlier embedding in a bank, and s is their cosine
    divided by a temperature τ, so the squared distance is 2 - 2 τ s⁺. One value per query, `[N]`.

    >>> import torch
    >>> import crl_core as crl
    >>> values, positive = torch.tensor([[2.0, 0.0]]), torch.tensor([[True, False]])  # the cosine 1, τ = 0.5
    >>> scores = crl.Scores.of(values, positive)
    >>> torch.allclose(crl.Proximal(crl.InfoNCE(), temperature=0.5)(scores), crl.InfoNCE()(scores))  # at distance 0
    True

    Args:
        loss: on scores, with one value per query.
        weight: λ.
        temperature: τ, the same as in the contrast's score.
    """

    takes: ClassVar[Literal["scores"]] = "scores"
    wants: ClassVar[str] = "similarity"

    def __init__(self, loss: Loss, weight: float = 10.0, temperature: float = 0.07) -> None:
        super().__init__()
        if loss.takes != "scores":
            raise CrlError(f"Proximal goes with a loss on scores; {type(loss).__name__} takes {loss.takes}")
        if not (weight >= 0 and temperature > 0):
            raise ValueError(f"weight is 0 or more and the temperature above 0, not {weight!r} and {temperature!r}")
        self.loss, self.weight, self.temperature = loss, weight, temperature

    def forward(self, scores: Scores) -> Tensor:
        return self.loss(scores) + self.weight * (2 - 2 * self.temperature * scores.positive.mean())
