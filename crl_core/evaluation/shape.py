from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..data.geometry import alignment, effective_rank, uniformity
from ..data.view import Embeddings


class AlignmentUniformity:
    """How close two views of an item are, and how evenly all items are distributed on the sphere; lower is better.

    Wang and Isola 2020, section 4.1, on normalised rows. `alignment` is 0 if the two views are equal. `uniformity`
    is between 0, if all rows are equal, and about -4. Without two views, there is only `uniformity`.

    >>> import torch
    >>> import crl_core as crl
    >>> table = crl.Embeddings(torch.eye(4))
    >>> figures = crl.make("evaluator", "alignment-uniformity")(table, table, (table.z, table.z))
    >>> {name: round(figure, 3) for name, figure in figures.items()}
    {'uniformity': -4.0, 'alignment': 0.0}

    It compares all pairs, so it takes a sample if there are more than 10,000 items.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    tables: ClassVar[tuple[str, ...]] = ("test", "views")
    sample: ClassVar[int] = 10_000

    def __call__(
        self, train: Embeddings | None, test: Embeddings, views: tuple[Tensor, Tensor] | None
    ) -> dict[str, float]:
        found = {"uniformity": float(uniformity(test.z.float()))}
        if views is not None:
            found["alignment"] = float(alignment(views[0].float(), views[1].float()))
        return found


class EffectiveRank:
    """The number of directions in which the representations vary, roughly (Roy and Vetterli 2007).

    It is the exponential of the entropy of the singular values of the centred rows `[N, d]`, from 1 to min(N - 1, d).

    >>> import torch
    >>> import crl_core as crl
    >>> table = crl.Embeddings(torch.eye(4))  # four rows around their mean: three directions
    >>> round(crl.make("evaluator", "effective-rank")(table, table, None)["effective_rank"], 3)
    3.0
    """

    needs: ClassVar[tuple[str, ...]] = ()
    tables: ClassVar[tuple[str, ...]] = ("test",)

    def __call__(
        self, train: Embeddings | None, test: Embeddings, views: tuple[Tensor, Tensor] | None
    ) -> dict[str, float]:
        return {"effective_rank": float(effective_rank(test.z.float()))}
