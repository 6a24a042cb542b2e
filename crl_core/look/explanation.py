"""The positives and negatives of a query, with their scores, and the relations that choose them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs
import torch
from torch import Tensor

from ..contracts.parts import Score
from ..data.pairs import Pairs
from ..errors import CrlError
from .contrasted import Contrasted

_SHOWN = 5


@attrs.frozen
class Side:
    """The positives, or the negatives: how many there are, and the scores and columns of those that score highest."""

    relation: str
    count: int
    nearest: list[tuple[float, dict[str, float]]]


@attrs.frozen
class Case:
    """One query of one contrast."""

    contrast: str
    query: dict[str, float]
    positive: Side
    negative: Side
    neither: int


@attrs.frozen
class Explanation:
    cases: list[Case]

    def __str__(self) -> str:
        lines = []
        for case in self.cases:
            lines.append(f"{case.contrast}: the query has {_text(case.query)}")
            for name, side in (("positive", case.positive), ("negative", case.negative)):
                lines.append(f"  {side.count} {name}, by {side.relation}")
                lines += [f"    score {score:8.3f}  {_text(columns)}" for score, columns in side.nearest]
                if side.count > len(side.nearest):
                    lines.append(f"    … and {side.count - len(side.nearest)} more")
            lines.append(f"  {case.neither} keys are neither")
        return "\n".join(lines)


def _text(columns: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in columns.items())


@torch.no_grad()
def explanation_of(contrasts: Iterable[tuple[Contrasted, Pairs | None]], query: int) -> Explanation:
    """The explanation of query number `query` in all contrasts, from their pairs.

    Raises:
        CrlError: there is no such query, or there are no keys.
    """
    return Explanation([_case(contrast.name, contrast.score, pairs, query) for contrast, pairs in contrasts])


def _case(name: str, score: Score, pairs: Pairs | None, index: int) -> Case:
    if pairs is None:
        raise CrlError(f"{name}: there are no keys yet")
    if not 0 <= index < len(pairs.query):
        raise CrlError(f"{name} has queries 0 to {len(pairs.query) - 1}, not {index}")
    row = slice(index, index + 1)
    positive, negative = (mask[0] for mask in pairs.masks(row))
    values = pairs.values(score, row)[0]
    columns = pairs.candidates(index).meta
    return Case(
        name,
        {name: column[index].flatten()[0].item() for name, column in pairs.query.meta.items()},
        _side(str(pairs.positive), positive, values, columns),
        _side(str(pairs.negative), negative, values, columns),
        int((~(positive | negative)).sum()),
    )


def _side(relation: str, mask: Tensor, values: Tensor, columns: Mapping[str, Tensor]) -> Side:
    chosen = mask.nonzero().squeeze(1)
    order = chosen[values[chosen].argsort(descending=True)][:_SHOWN]
    shown = [(float(values[i]), {name: column[i].item() for name, column in columns.items()}) for i in order.tolist()]
    return Side(relation, len(chosen), shown)
