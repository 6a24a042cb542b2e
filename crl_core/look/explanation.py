"""What a query is pulled to and pushed from, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs
import torch
from torch import Tensor

from ..data.view import Embeddings, View
from ..errors import CrlError
from ..method.contrast import Contrast

if TYPE_CHECKING:
    from ..method.pipeline import Pipeline

_SHOWN = 5


@attrs.frozen
class Side:
    """The candidates of one kind: how many there are, and the columns and scores of the nearest."""

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
def explain(pipeline: Pipeline, batch: View, query: int) -> Explanation:
    """Query number `query` of every contrast, on one batch; trains and remembers nothing."""
    training = pipeline.training
    pipeline.eval()
    try:
        batch = pipeline.read(batch)
        table = pipeline.embed(pipeline.draw(batch))
        shown = [contrast for contrast in pipeline.contrasts if pipeline.runs(contrast, batch.source)]
        return Explanation([_case(contrast, table, query) for contrast in shown])
    finally:
        pipeline.train(training)


def _case(contrast: Contrast, table: Mapping[str, Embeddings], index: int) -> Case:
    pairs = contrast.pairs(table)
    if pairs is None:
        raise CrlError(f"{contrast.name}: there are no keys yet")
    if not 0 <= index < len(pairs.query):
        raise CrlError(f"{contrast.name} has queries 0 to {len(pairs.query) - 1}, not {index}")
    row = slice(index, index + 1)
    positive, negative = (mask[0] for mask in pairs.masks(row))
    values = pairs.values(contrast.score, row)[0]
    columns = pairs.candidates(index).meta
    return Case(
        contrast.name,
        {name: column[index].flatten()[0].item() for name, column in pairs.query.meta.items()},
        _side(str(contrast.positive), positive, values, columns),
        _side(str(contrast.negative), negative, values, columns),
        int((~(positive | negative)).sum()),
    )


def _side(relation: str, mask: Tensor, values: Tensor, columns: Mapping[str, Tensor]) -> Side:
    chosen = mask.nonzero().squeeze(1)
    order = chosen[values[chosen].argsort(descending=True)][:_SHOWN]
    shown = [(float(values[i]), {name: column[i].item() for name, column in columns.items()}) for i in order.tolist()]
    return Side(relation, len(chosen), shown)
