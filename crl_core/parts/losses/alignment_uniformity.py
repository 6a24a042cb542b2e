from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn

from ...evaluation.geometry import alignment, uniformity
from .aligned import aligned


class AlignmentUniformity(nn.Module):
    """E ‖x - y‖^α over the pairs, plus λ times the mean of both sides' log E exp(-t ‖x - x'‖²).

    Wang and Isola 2020, section 4.1, on the unit sphere: the very figures of the evaluation. The second
    expectation is over pairs of different rows. All embeddings equal: 0, which is far from the least.

    Each pair belongs in once: with pairs in both directions, a row's other view is one of those that it is
    pushed from; and with several positives, a row would be pushed from itself.

    Args:
        uniformity: λ.
        power: α.
        t: how soon the push fades with the distance.
    """

    takes: ClassVar[Literal["batch"]] = "batch"

    def __init__(self, uniformity: float = 1.0, power: float = 2.0, t: float = 2.0) -> None:
        super().__init__()
        if not (uniformity >= 0 and power > 0 and t > 0):
            raise ValueError(f"uniformity is 0 or more, power and t above it: not {uniformity!r}, {power!r}, {t!r}")
        self.uniformity, self.power, self.t = uniformity, power, t

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        query, key = aligned(self, query, key)
        spread = (uniformity(query, self.t) + uniformity(key, self.t)) / 2
        return alignment(query, key, self.power) + self.uniformity * spread
