from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn

from ...data.geometry import alignment, uniformity
from .aligned import aligned


class AlignmentUniformity(nn.Module):
    """E ‖x - y‖^α over the pairs, plus λ times the mean of log E exp(-t ‖x - x'‖²) over both sides.

    Wang and Isola 2020, section 4.1, on the unit sphere. The evaluator `alignment-uniformity` reports the same two
    quantities. The second expectation is over pairs of different rows. Embeddings `[P, D]` of P pairs; one number for
    the batch. If all embeddings are equal, the loss is 0, which is far from its minimum.

    Each pair should come once. With pairs in both directions, uniformity pushes a row away from its own other view;
    with several positives, it pushes a row away from itself.

    >>> import torch
    >>> import crl_core as crl
    >>> z = torch.eye(2)  # two items in orthogonal directions, both views alike: no alignment term, distance² 2
    >>> round(crl.AlignmentUniformity()(z, z).item(), 3)
    -4.0

    Args:
        uniformity: λ.
        power: α.
        t: how fast the push falls with the squared distance.

    Raises:
        ValueError: λ is below 0, or α or t is not above 0.
        CrlError: the tables differ in shape, or there are fewer than 2 pairs.
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
