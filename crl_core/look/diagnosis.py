"""Checks on one batch whether a run is healthy."""

from __future__ import annotations

import math
from collections.abc import Iterable

import attrs
import torch
from torch import Tensor

from ..contracts.kernels import Problem
from ..contracts.parts import Score
from ..data.geometry import alignment, effective_rank, spread, uniformity
from ..data.pairs import Pairs
from ..data.view import Embeddings
from ..registry.kernels import choose_kernel
from .contrasted import Contrasted

ROWS = 512  # the number of rows that are measured: enough, and fast
FEW = 3.0  # the lowest healthy effective rank; healthy embeddings have at least about the number of classes


@attrs.frozen
class Diagnosis:
    """Numbers by name, and warnings as text."""

    figures: dict[str, float]
    warnings: list[str]

    def __str__(self) -> str:
        lines = [f"{name:<40} {value:.4g}" for name, value in self.figures.items()]
        return "\n".join(lines + [f"warning: {text}" for text in self.warnings or ["none"]])


@torch.no_grad()
def health(pairs: Pairs) -> tuple[dict[str, float], list[str]]:
    """Measures of the queries of a contrast, fast enough for every epoch; and a warning if they have collapsed."""
    query = pairs.query.z.flatten(0, -2)[:ROWS].float()
    if len(query) < 2:
        return {}, []
    most = min(len(query) - 1, query.shape[1])
    figures = {
        "spread": float(spread(query)),
        "effective rank": float(effective_rank(query)),
        "uniformity": float(uniformity(query)),
    }
    if not pairs.per_query:
        few = Pairs(
            Embeddings(pairs.query.z[:ROWS], {name: column[:ROWS] for name, column in pairs.query.meta.items()}),
            pairs.keys,
            pairs.positive,
            pairs.negative,
        )
        index, partner = few.positive_indices()
        if len(index) and query.shape[1] == pairs.key.shape[1]:
            figures["alignment"] = float(alignment(query[index], pairs.key[partner].float()))
    said = []
    if figures["spread"] < 0.1:
        said.append(
            f"the embeddings have collapsed to a point: their spread is {figures['spread']:.3f} (healthy: near 1). "
            f"Look for missing negatives or predictor, a target that gets a gradient, or too high a learning rate"
        )
    elif most >= 8 and figures["effective rank"] < FEW:
        said.append(
            f"the embeddings fill {figures['effective rank']:.1f} of {most} possible directions: "
            f"dimensional collapse. A larger batch, a lower temperature or batch normalisation in the head may help"
        )
    return figures, said


@torch.no_grad()
def information(contrast: Contrasted, pairs: Pairs) -> dict[str, float]:
    """The mutual information of queries and keys that the loss estimates; empty if it has no estimate."""
    estimate = getattr(contrast.loss, "information", getattr(contrast.loss, "nats", None))  # `nats` in 0.1
    if estimate is None:
        return {}
    problem = Problem(pairs, contrast.score, estimate)
    found = choose_kernel("auto", problem)(problem)
    return {f"{contrast.name}-nats": float(found.total / found.counted.sum())} if found.counted.any() else {}


@torch.no_grad()
def diagnosis_of(contrasts: Iterable[tuple[Contrasted, Pairs | None]]) -> Diagnosis:
    """The diagnosis of all contrasts, from their pairs."""
    found = Diagnosis({}, [])
    for contrast, pairs in contrasts:
        figures, said = _contrast(contrast, pairs)
        found.figures.update({f"{contrast.name}/{name}": value for name, value in figures.items()})
        found.warnings.extend(f"{contrast.name}: {text}" for text in said)
    return found


def _contrast(contrast: Contrasted, pairs: Pairs | None) -> tuple[dict[str, float], list[str]]:
    if pairs is None:
        return {}, ["there are no keys yet"]
    figures, said = health(pairs)
    if not pairs.per_query:
        figures["duplicate keys"] = _duplicates(pairs.key)
        if figures["duplicate keys"] > 0.1:
            said.append(f"{figures['duplicate keys']:.0%} of the keys occur twice: some negatives may be positives")
    if contrast.loss.takes == "scores":
        found, more = _ranks(pairs, contrast.score)
        figures, said = figures | found | information(contrast, pairs), said + more
    held = [memory.keys() for memory in contrast.memories]
    if any(keys is not None for keys in held):
        figures["remembered keys"] = sum(len(keys) for keys in held if keys is not None)
    return figures, said


def _ranks(pairs: Pairs, score: Score) -> tuple[dict[str, float], list[str]]:
    """How the positives rank among all candidates, for the first rows."""
    rows = slice(0, min(ROWS, len(pairs.query)))
    positive, negative = pairs.masks(rows)
    values = pairs.values(score, rows).float()
    counted = positive.any(1)
    figures = {
        "queries without positives": float((~counted).float().mean()),
        "negatives per query": float(negative.sum(1).float().mean()),
    }
    if not counted.any():
        return figures, [f"no query has a positive, by {pairs.positive}"]
    best = values.masked_fill(~positive, -math.inf).amax(1, keepdim=True)
    figures["negatives above the positive"] = float(((values > best) & negative)[counted].sum(1).float().mean())
    figures["loss of a blind guess"] = math.log(figures["negatives per query"] + 1)
    if not negative.any():
        return figures, [f"no query has a negative, by {pairs.negative}"]
    return figures, []


def _duplicates(keys: Tensor) -> float:
    kept = keys[: 8 * ROWS]
    return 1 - len(torch.unique(kept, dim=0)) / len(kept)


@torch.no_grad()
def drift(module: torch.nn.Module, follower: torch.nn.Module) -> float:
    """The distance of a copy from the module that it follows, relative to the norm of the weights."""
    theirs, ours = (torch.nn.utils.parameters_to_vector(m.parameters()) for m in (module, follower))
    return float((theirs - ours).norm() / theirs.norm().clamp(min=1e-12))
