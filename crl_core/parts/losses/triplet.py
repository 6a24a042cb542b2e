from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from ...data.pairs import Scores, Summed
from ..schedules.scheduled import Scheduled


class Triplet(nn.Module):
    """Each positive closer than each negative, by a margin.

    For the gap g = s⁻ - s⁺ of a negative and a positive of the same query:
        "hinge": max(0, margin + g) (Weinberger and Saul 2009; Schroff et al. 2015);
        "soft": log(1 + exp g) (Hermans et al. 2017), which needs no margin;
        "ratio": (exp s⁻ / (exp s⁺ + exp s⁻))² (Hoffer and Ailon 2015, up to its constant factor).
    Which triplets:
        "all": every one; the mean is over those whose loss isn't 0, as is usual;
        "hard": the furthest positive with the nearest negative (Hermans et al. 2017);
        "easy-positive": the nearest positive with the nearest negative (Xuan et al. 2020);
        "semi-hard": for every positive, the nearest of the negatives that are further away (Schroff et al. 2015).
    "all" and "semi-hard" sort and search instead of trying all triplets, and take the hinge only.

    >>> import torch
    >>> import crl_core as crl
    >>> values, positive = torch.tensor([[1.0, 0.9, 0.0]]), torch.tensor([[True, False, False]])
    >>> value, terms = crl.Triplet(margin=0.2)(crl.Scores.of(values, positive))
    >>> value, terms  # of two triplets, one violates the margin
    (tensor([0.1000]), tensor([1.]))

    Args:
        margin: in the unit of the scores.
        form: "hinge", "soft" or "ratio".
        mining: "all", "hard", "easy-positive" or "semi-hard".

    Raises:
        ValueError: this mining does not take this form.
    """

    takes: ClassVar[Literal["scores"]] = "scores"

    def __init__(
        self,
        margin: float | Scheduled = 0.2,
        form: Literal["hinge", "soft", "ratio"] = "hinge",
        mining: Literal["all", "hard", "easy-positive", "semi-hard"] = "all",
    ) -> None:
        super().__init__()
        if form != "hinge" and mining in ("all", "semi-hard"):
            raise ValueError(f'mining {mining!r} knows the form "hinge" alone, not {form!r}; "hard" knows all forms')
        self.margin, self.form, self.mining = margin, form, mining

    def forward(self, scores: Scores) -> Tensor | Summed:
        margin: Any = self.margin
        if self.mining == "all":
            return scores.hinges(margin)
        if self.mining == "semi-hard":
            return scores.semi_hard_hinges(margin)
        positive = scores.positive.min() if self.mining == "hard" else scores.positive.max()
        gap = scores.negative.max() - positive
        if self.form == "hinge":
            return F.relu(margin + gap)
        return F.softplus(gap) if self.form == "soft" else gap.sigmoid().square()
